"""Any one-letter slip in any key is an error, and nearly always names the key that was meant."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from echorl_vl.config import ConfigIssue
from echorl_vl.config.read import read_overrides
from echorl_vl.config.schema import OPTIONS, SECTIONS
from echorl_vl.spelling import nearest_key

KEYS = list(OPTIONS)
LETTERS = string.ascii_lowercase + "_"


def slip(key: str, kind: str, position: int, letter: str) -> str:
    position %= len(key)
    if kind == "drop":
        return key[:position] + key[position + 1 :]
    if kind == "add":
        return key[:position] + letter + key[position:]
    if kind == "swap":
        return key[:position] + key[position : position + 2][::-1] + key[position + 2 :]
    return key[:position] + letter + key[position + 1 :]


@settings(max_examples=150, deadline=None)
@given(
    key=st.sampled_from(KEYS),
    kind=st.sampled_from(["drop", "add", "swap", "replace"]),
    position=st.integers(0, 80),
    letter=st.sampled_from(LETTERS),
)
@example("worker.rollout.n", "replace", 15, "m")
def test_a_slip_is_reported(key: str, kind: str, position: int, letter: str) -> None:
    mistyped = slip(key, kind, position, letter)
    assume(mistyped not in KEYS and mistyped not in SECTIONS and not mistyped.endswith("."))
    mappings = [name for name, option in OPTIONS.items() if option.kind is dict]
    assume(not any(mistyped.startswith(f"{name}.") for name in mappings))
    problems: list[ConfigIssue] = []
    assignments = read_overrides([f"{mistyped}=1"], problems)
    assert assignments == [] and len(problems) == 1
    assert problems[0].message.startswith(f"{mistyped} (command line): unknown key; did you mean ")


@pytest.mark.parametrize("kind", ["drop", "replace"])
def test_the_intended_name_is_suggested_in_most_cases(kind: str) -> None:
    """Counted over one slip in the middle and one at the end of the last part of every key."""
    named = total = 0
    for key in KEYS:
        last = key.rindex(".") + 1 if "." in key else 0
        for position in {(last + len(key)) // 2, len(key) - 1}:
            mistyped = slip(key, kind, position, "q")
            if mistyped in KEYS or mistyped.endswith("."):
                continue
            total += 1
            named += nearest_key(mistyped, KEYS + list(SECTIONS)) == key
    assert named / total > 0.97


def test_far_away_words_get_no_suggestion() -> None:
    assert nearest_key("zzzzzz", KEYS) is None
