"""Keys that have an older name beside their own: one meaning, whichever is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from echorl_vl.config import config_to_dict, load_config
from echorl_vl.errors import UserError
from echorl_vl.outputs.same_run import config_differences


def in_file(minimal: Path, write: Callable[[str], Path], *lines: str) -> Path:
    return write(minimal.read_text().replace("data:\n", "data:\n" + "".join(f"  {line}\n" for line in lines)))


@pytest.mark.parametrize("name", ["trace_key", "demonstration_key"])
def test_both_names_are_taken(minimal: Path, write: Callable[[str], Path], name: str) -> None:
    plain = load_config(minimal, ["data.demonstration_key=solution"])
    for config in (
        load_config(minimal, [f"data.{name}=solution"]),
        load_config(in_file(minimal, write, f"{name}: solution")),
    ):
        assert config.data.demonstration_key == "solution" and config_to_dict(config) == config_to_dict(plain)
    assert load_config(minimal, [f"data.{name}=1"]).data.demonstration_key == "1"  # text, as every name of a column


def test_two_names_with_two_values_are_an_issue(minimal: Path, write: Callable[[str], Path]) -> None:
    both = "data.demonstration_key=b", "data.trace_key=a"
    with pytest.raises(UserError, match=r'data\.demonstration_key = "?b.*data\.trace_key = "?a.*two names of one key'):
        load_config(minimal, both)
    assert load_config(minimal, ["data.trace_key=a", "data.demonstration_key=a"]).data.demonstration_key == "a"
    path = in_file(minimal, write, "trace_key: a", "demonstration_key: b")
    with pytest.raises(UserError, match=r"yaml line \d+\) and data\.trace_key .*yaml line \d+\): two names of one key"):
        load_config(path)


def test_the_command_line_wins_whatever_the_name(minimal: Path, write: Callable[[str], Path]) -> None:
    path = in_file(minimal, write, "demonstration_key: a")
    assert load_config(path, ["data.trace_key=b"]).data.demonstration_key == "b"
    assert load_config(path, ["data.trace_key=null"]).data.demonstration_key is None


def test_a_run_of_the_older_name_is_the_same_run() -> None:
    assert not config_differences("data: {trace_key: a}", "data: {demonstration_key: a}")
    assert config_differences("data: {trace_key: a}", "data: {demonstration_key: b}")
