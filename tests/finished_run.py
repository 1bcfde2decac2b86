"""The outcome of a training through the command line, whichever engine ran it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil

from echorl_vl.outputs.tracker import read_metrics


class FinishedRun:
    """Exit status, what was printed, and the run folder."""

    def __init__(self, status: int, output: str, folder: Path) -> None:
        self.status, self.output, self.folder = status, output, folder

    @property
    def metrics(self) -> list[dict]:
        return read_metrics(self.folder)

    @property
    def summary(self) -> dict:
        return json.loads((self.folder / "summary.json").read_text())


MARK = "ECHORL_TEST_MARK"
"""Variable of a run that is to be found whole, by a value of its own: what it starts has it as well."""


def processes(mark: str) -> dict[int, str]:
    """Process id -> command line of what lives of a run that was started with `mark` in its environment."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline())
        except psutil.Error:  # gone, or another user's
            continue
    return found


def left_after(mark: str, seconds: float) -> dict[int, str]:
    """The `processes` of a run that are there after so many seconds; none as soon as all have ended."""
    deadline = time.monotonic() + seconds
    while (found := processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
