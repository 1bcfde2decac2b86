"""What is said at the end of a training that a host framework runs; the host is a function here."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from echorl_vl.config import Config
from echorl_vl.engines.hosted import train_hosted
from echorl_vl.outputs import display, finish
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.tracker import Tracker


class Clock:
    """`time.monotonic` that a training can put on."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.passed


@pytest.fixture
def folder(tmp_path: Path):
    with RunFolder.open(tmp_path / "run", "engine: easyr1\n", find_checkpoint=lambda _: None) as folder:
        yield folder


def test_the_time_that_a_run_took_is_that_of_its_training(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, console = Clock(), Console(file=io.StringIO(), width=120)
    monkeypatch.setattr(display, "time", clock)
    monkeypatch.setattr(finish, "write_plots", lambda _: [])

    def launch(_: Config, run: RunFolder) -> bool:
        with Tracker(run) as tracker:
            tracker.log(1, {"reward/accuracy": 0.5})
        clock.passed += 2 * 3600
        return True

    assert train_hosted(Config(), folder, launch, lambda _: None, console) == 0
    assert "took 2:00:" in console.file.getvalue()


def test_a_stopped_run_says_how_to_go_on(folder: RunFolder) -> None:
    console = Console(file=io.StringIO(), width=200)
    assert train_hosted(Config(), folder, lambda *_: False, lambda _: None, console) == 130
    assert "starts again: nothing was saved yet" in console.file.getvalue()
