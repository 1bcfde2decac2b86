"""null is null, on the command line as in a file, and so are `~`, None, and nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from refused import error_of

from echorl_vl.config import load_config
from echorl_vl.config.dump import get_value
from echorl_vl.config.schema import OPTIONS

OPTIONAL = [key for key, option in OPTIONS.items() if option.optional]
EMPTY = ["data.train_files", "data.val_files", "data.image_key", "data.video_key"]
MAPPINGS = [key for key, option in OPTIONS.items() if option.kind is dict]
NEEDED = ("worker.actor.model.model_path", "worker.reward.reward_function", "data.train_files")
WORDS = ("null", "~", "None", "Null", "NULL", "")


@pytest.mark.parametrize("word", WORDS)
def test_every_optional_key_takes_null(minimal: Path, word: str) -> None:
    overrides = [f"{key}={word}" for key in OPTIONAL if key not in NEEDED]
    config = load_config(minimal, overrides)
    assert [key for key in OPTIONAL if key not in NEEDED and get_value(config, key) is not None] == []


@pytest.mark.parametrize("word", [*WORDS, "''"])
@pytest.mark.parametrize("key", NEEDED)
def test_what_is_needed_is_missed(minimal: Path, key: str, word: str) -> None:
    message = error_of(minimal, f"{key}={word}")
    assert message.startswith(f"{key} is not set (command line): expected ")


@pytest.mark.parametrize("word", [*WORDS, "''", '""'])
@pytest.mark.parametrize("key", [key for key in EMPTY if key not in NEEDED])
def test_keys_whose_nothing_is_an_empty_text(minimal: Path, key: str, word: str) -> None:
    assert get_value(load_config(minimal, [f"{key}={word}"]), key) == ""


@pytest.mark.parametrize("word", ["null", "~", "None", ""])
@pytest.mark.parametrize("key", ["data.val_files", "data.demonstration_key", "trainer.max_steps", "data.min_pixels"])
def test_the_same_in_a_file(minimal: Path, tmp_path: Path, key: str, word: str, write: Callable[[str], Path]) -> None:
    text = minimal.read_text()
    section, _, name = key.partition(".")
    path = write(text.replace(f"{section}:\n", f"{section}:\n  {name}: {word}\n"))
    assert get_value(load_config(path), key) in (None, "")


@pytest.mark.parametrize("key", MAPPINGS)
@pytest.mark.parametrize("word", WORDS)
def test_a_mapping_of_nothing_is_an_empty_one(minimal: Path, key: str, word: str) -> None:
    assert get_value(load_config(minimal, [f"{key}={word}"]), key) == {}


def test_null_takes_back_a_value_of_the_file(minimal: Path, write: Callable[[str], Path]) -> None:
    text = minimal.read_text().replace(
        "data:\n", "data:\n  val_files: owner/problems@test\n  demonstration_key: solution\n"
    )
    config = load_config(write(text), ["data.val_files=null", "data.demonstration_key=null"])
    assert (config.data.val_files, config.data.demonstration_key) == ("", None)


def test_the_word_itself_is_written_in_quotes(minimal: Path) -> None:
    config = load_config(
        minimal, ["data.demonstration_key='None'", "data.val_files='null'", "trainer.experiment_name=None"]
    )
    assert (config.data.demonstration_key, config.data.val_files) == ("None", "null")
    assert config.trainer.experiment_name == "None"  # a key that can't be unset


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.experiment_name=null", "a string"),
        ("data.prompt_key=~", "a string"),
        ("worker.rollout.n=null", "an int"),
        ("data.shuffle=null", "a bool"),
        ("trainer.logger=null", "a list of strings"),
    ],
)
def test_a_key_that_can_not_be_unset_says_so(minimal: Path, override: str, expected: str) -> None:
    assert error_of(minimal, override) == f"{override.partition('=')[0]} = null (command line): expected {expected}"


def test_an_optional_text_of_quotes_is_null_too(minimal: Path) -> None:
    """A folder with no name would be the working directory to whoever asks `is None`."""
    keys = [key for key in OPTIONAL if OPTIONS[key].is_text and not OPTIONS[key].choices and key not in NEEDED]
    config = load_config(minimal, [f'{key}=""' for key in keys])
    assert {get_value(config, key) for key in keys} == {None}
