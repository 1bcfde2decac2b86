"""A training run by the command line, with any engine, and the processes that it has started."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil

from echorl_vl.outputs.tracker import read_metrics


class FinishedRun:
    """Exit status, output and folder of a run."""

    def __init__(self, status: int, output: str, folder: Path) -> None:
        self.status, self.output, self.folder = status, output, folder

    @property
    def metrics(self) -> list[dict]:
        return read_metrics(self.folder)

    @property
    def summary(self) -> dict:
        return json.loads((self.folder / "summary.json").read_text())


MARK = "ECHORL_TEST_MARK"
"""Environment variable of a run and of every process that it starts, with a unique value per run."""


def processes(mark: str) -> dict[int, str]:
    """Live processes of the run with this `mark`: process id -> command line."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline())
        except psutil.Error:  # it has ended, or is another user's
            continue
    return found


def left_after(mark: str, seconds: float) -> dict[int, str]:
    """The `processes` of a run that are left after that many seconds. Returns early if all have ended."""
    deadline = time.monotonic() + seconds
    while (found := processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
