"""No value is without end: every number has an upper bound, every text a length, every path characters that exist.

These tests walk the schema, so a key that is added without a bound fails here.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from refused import error_of

from echorl_vl import train
from echorl_vl.algorithms import ALGORITHMS, make_algorithm
from echorl_vl.config import load_config
from echorl_vl.config.schema import OPTIONS
from echorl_vl.core.splitters import WindowSplitter
from echorl_vl.core.vocabulary import TokenTable
from echorl_vl.engines import general_issues

PATHS = [key for key, option in OPTIONS.items() if option.place]
NUMBERS = [key for key, option in OPTIONS.items() if option.kind in (int, float)]
LISTS = [key for key, option in OPTIONS.items() if option.kind in (list, tuple, dict)]
TEXTS = [key for key, option in OPTIONS.items() if option.is_text and not option.choices]
HUGE = {int: ("1" + "0" * 30, "1e100", "18446744073709551616"), float: ("1e300", "1" + "0" * 30)}
ECHO_CHOICES = {"echo.apply_to", "echo.select", "echo.normalize_by", "echo.splitter", "echo.decay"}


def test_the_walk_sees_the_schema() -> None:
    assert len(NUMBERS) > 80 and "worker.reward.num_cpus" in NUMBERS and "echo.k" in NUMBERS
    assert LISTS == [
        "algorithm.options",
        "worker.actor.model.override_config",
        "worker.actor.optim.betas",
        "worker.rollout.val_override_config",
        "worker.reward.reward_function_kwargs",
        "worker.critic.model.override_config",
        "worker.critic.optim.betas",
        "trainer.logger",
        "echo.splitter_kwargs",
    ]


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_has_an_upper_bound(minimal: Path, key: str) -> None:
    for value in HUGE[OPTIONS[key].kind]:
        message = error_of(minimal, f"{key}={value}").splitlines()[-1].strip()
        assert message.startswith(key), message
        assert "at most" in message or "below" in message or "<=" in message, message


def test_the_same_holds_in_validation_and_lists(minimal: Path) -> None:
    for name in ("n", "top_k", "seed", "temperature"):
        assert "at most" in error_of(minimal, f"worker.rollout.val_override_config={{{name}: 1e30}}")
    assert "below 1" in error_of(minimal, "worker.actor.optim.betas=[0.9, 1e30]")


@pytest.mark.parametrize("name", [name for name, cls in ALGORITHMS.items() if dataclasses.fields(cls)])
def test_every_option_of_an_algorithm_has_one(name: str) -> None:
    for field in dataclasses.fields(ALGORITHMS[name]):
        for value in (10**30, 10**400, float("inf")):
            with pytest.raises(ValueError, match=rf"algorithm\.options\.{field.name} is .*expected"):
                make_algorithm(name, {field.name: value})


def test_a_window_has_one() -> None:
    with pytest.raises(ValueError, match="size >= 1 and <="):
        WindowSplitter(TokenTable([]), size=10**30)


@pytest.mark.parametrize(
    "override",
    [
        "worker.reward.num_cpus=100000",
        "data.max_response_length=1e9",
        "trainer.max_steps=1e100",
        "worker.rollout.n=1000000",
        "data.seed=36893488147419103232",
    ],
)
def test_the_values_that_were_tried(minimal: Path, override: str) -> None:
    key = override.partition("=")[0]
    assert error_of(minimal, override).startswith(f"{key} = ")


def test_what_people_write_for_no_limit_stays(minimal: Path) -> None:
    big = ("trainer.save_freq=1000000000", "worker.actor.max_grad_norm=1e9", "data.max_pixels=99999999", "data.seed=42")
    load_config(minimal, [*big, f"worker.rollout.seed={2**63 - 1}", "data.max_response_length=131072"])


def test_a_step_that_no_memory_holds(minimal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = type("Memory", (), {"total": 8 * 2**30})
    monkeypatch.setattr(general_issues.psutil, "virtual_memory", lambda: machine)
    large = ("data.rollout_batch_size=1024", "worker.rollout.n=16")  # 16,384 rollouts
    load_config(minimal, [*large, "data.max_response_length=65024"])  # 8 GiB of ids, no more
    message = error_of(minimal, *large, "data.max_response_length=65536")
    assert message.startswith("data.rollout_batch_size = 1,024 x worker.rollout.n = 16 (command line)")
    assert "16,384 rollouts of up to 66,048 tokens" in message and "this machine's 8 GiB" in message


def test_graders_are_counted_against_the_cores(minimal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    load_config(minimal, ["worker.reward.num_cpus=40"])
    message = error_of(minimal, "worker.reward.num_cpus=41")
    assert message.startswith(
        "worker.reward.num_cpus = 41 (command line): expected at most 40 processes on the 10 cores"
    )
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    load_config(minimal, ["worker.reward.num_cpus=32"])  # a recipe for a large machine loads on a small one


# --- texts and paths ---


def test_every_path_of_the_schema_is_known_as_one() -> None:
    named = {key for key in TEXTS if key.endswith(("_path", "_files", "_dir", "_function", "_template"))}
    named |= {
        "data.format_prompt",
        "echo.select",
        "trainer.project_name",
        "trainer.experiment_name",
        "trainer.ray_timeline",
    }
    assert named == set(PATHS)


@pytest.mark.parametrize("key", sorted(PATHS))
@pytest.mark.parametrize(
    ("value", "part"),
    [
        (r'"a\0b"', "got U+0000"),
        (r'"a\ud800b"', "got U+D800"),
        (r'"a\eb"', "got U+001B"),
        (r'"a\nb"', "got U+000A"),
        ("d/" * 3000, "at most 4,096 bytes"),
        ("x" * 300, "at most 255 bytes between two /"),
        ("é" * 200, "at most 255 bytes between two /"),
    ],
    ids=["NUL", "surrogate", "escape", "newline", "long", "long part", "long part in bytes"],
)
def test_a_path_is_one_that_a_file_system_takes(minimal: Path, key: str, value: str, part: str) -> None:
    message = error_of(minimal, f"{key}={value}")
    assert message.startswith(f"{key} = ") and part in message


@pytest.mark.parametrize("key", [key for key in TEXTS if key not in ECHO_CHOICES])
def test_every_text_has_an_end_and_no_control_characters(minimal: Path, key: str) -> None:
    assert f"{key} = " in error_of(minimal, f"{key}={'x/' * 10_000}")
    assert "got U+0007" in error_of(minimal, rf'{key}="a\a"')


def test_limits_of_paths_hold_for_each_place_of_a_list(minimal: Path) -> None:
    places = ",".join(f"owner/problems{number}@train" for number in range(400))
    assert len(places) > 4096 and load_config(minimal, [f"data.train_files={places}"]).data.train_files == places


def test_paths_with_letters_of_any_language_stay(minimal: Path, tmp_path: Path) -> None:
    folder = tmp_path / "モデル \u3000 é" / "a b"
    folder.mkdir(parents=True)
    assert load_config(minimal, [f"data.image_dir={folder}"]).data.image_dir == str(folder)


# --- numbers, lists, mappings and keys that are endless as text ---


@pytest.mark.parametrize(
    "override",
    [
        "data.seed=" + "9" * 5000,
        "data.seed=0x" + "f" * 5000,
        "data.seed=${oc.env:ECHO_TEST_DIGITS}",
        "worker.reward.reward_function_kwargs={a: " + "9" * 5000 + "}",
        "worker.reward.reward_function_kwargs={a: 0x" + "f" * 5000 + "}",
        "trainer.logger=[" + ",".join(["console"] * 10_000) + "]",
        "data.prompt_key=" + "x" * 2_000_000,
        "worker.reward.reward_function_kwargs={a: " + "x" * 2_000_000 + "}",
        "data." + "x" * 100_000 + "=1",
        "x." * 50_000 + "=1",
        "x" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_an_endless_value_is_an_error_that_can_be_read(
    minimal: Path, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    monkeypatch.setenv("ECHO_TEST_DIGITS", "9" * 5000)
    message = error_of(minimal, override)
    assert len(message) < 1000 and "command line" in message


@pytest.mark.parametrize("depth", range(40, 1000, 40))
@pytest.mark.parametrize("brackets", ["{a: |}", "[|]"])
def test_deep_nesting_ends_in_no_recursion(minimal: Path, depth: int, brackets: str) -> None:
    opening, closing = brackets.split("|")
    override = f"worker.reward.reward_function_kwargs={{a: {opening * depth}1{closing * depth}}}"
    if depth <= 40:
        load_config(minimal, [override])
    else:
        assert "nested too deeply" in error_of(minimal, override)


def test_what_a_terminal_would_obey_is_shown(minimal: Path, capsys) -> None:
    assert train.main([str(minimal), "a\033]0;x\007=1", "data.seed=\u202e5", r'trainer.experiment_name="\ud800"']) == 2
    printed = capsys.readouterr().err
    assert r"a\x1b]0;x\x07" in printed and "\033" not in printed and "\u202e" not in printed and r"\ud800" in printed
