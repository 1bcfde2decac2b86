"""What a reward prints is shown with its name, limited in length and without terminal control sequences."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from echorl_vl.outputs.log import set_up_logging
from echorl_vl.rewards.manager import RewardManager
from echorl_vl.rewards.output import LINES

REWARD = r"""
import os, sys
REWARD_TYPE = "sequential"
def f(row):
    if row["response"] == "much":
        for _ in range(100_000): print("much")
    print("out \x1b[2J")
    os.write(2, b"err \x1b]0;title\x07 \xff\n")
    return {"overall": 1.0}
"""


def test_output_is_shown_without_control_sequences(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(REWARD)
    with RewardManager(f"{tmp_path / 'mine.py'}:f", {}, 1, 20.0) as manager:
        assert manager.score(["5"], [1], ["5"])[0]["overall"] == 1.0
    shown = capfd.readouterr()
    assert "[mine.py] out \\x1b[2J\n" in shown.err
    assert "[mine.py] err \\x1b]0;title\\x07 \ufffd\n" in shown.err
    assert "\x1b" not in shown.out + shown.err


def test_only_the_first_lines_are_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(REWARD)
    with RewardManager(f"{tmp_path / 'mine.py'}:f", {}, 1, 20.0) as manager:
        assert manager.score(["much"], [1], ["5"])[0]["overall"] == 1.0
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["[mine.py] much"] * LINES + ["[mine.py] ... (more is not shown)"]


def test_with_quiet_nothing_of_it_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging(logging.WARNING)
    (tmp_path / "mine.py").write_text(REWARD)
    with RewardManager(f"{tmp_path / 'mine.py'}:f", {}, 1, 20.0) as manager:
        assert manager.score(["much"], [1], ["5"])[0]["overall"] == 1.0
    assert capfd.readouterr().err == ""
