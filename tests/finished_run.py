"""The outcome of a training through the command line, whichever engine ran it."""

from __future__ import annotations

import json
from pathlib import Path

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
