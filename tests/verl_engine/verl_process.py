"""Runs of verl, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from finished_run import MARK

REPOSITORY = Path(__file__).resolve().parents[2]


def in_background(arguments: list[str], log: Path, **environment: str):
    """(process of `python ARGUMENTS`, its log); all that it starts is marked with the name of the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), MARK: str(log)} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, log
