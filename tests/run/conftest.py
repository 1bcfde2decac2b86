"""Short runs of the embedded engine through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from finished_run import FinishedRun

from echorl_vl import train

REPOSITORY = Path(__file__).resolve().parents[2]

SMALL = [
    "data.rollout_batch_size=4",
    "data.max_response_length=40",
    "data.val_files=''",
    "worker.rollout.n=4",
    "worker.actor.global_batch_size=4",
    "worker.actor.micro_batch_size_per_device_for_update=8",
    "worker.reward.time_limit=5",
    "trainer.max_steps=2",
    "trainer.val_freq=-1",
    "trainer.val_before_train=false",
    "trainer.save_freq=-1",
    "trainer.logger=[console, file]",
]
"""Overrides of the tiny configurations for a run of a few seconds."""

NOT_REPEATABLE = ("timing_s/", "perf/", "time")
"""Metrics that may differ between two equal runs."""


class Run(FinishedRun):
    """A run of the embedded engine."""

    def repeatable(self) -> list[dict]:
        return [
            {key: value for key, value in row.items() if not key.startswith(NOT_REPEATABLE)} for row in self.metrics
        ]


@pytest.fixture(scope="session")
def problems(tmp_path_factory) -> Path:
    """A file of 24 generated problems, quicker to open than drawing the whole split."""
    from geometry3k.generate import main

    path = tmp_path_factory.mktemp("problems") / "train.parquet"
    assert main(["--split", "train", "--size", "24", "--out", str(path)]) == 0
    return path


def arguments(folder: Path, problems: Path, overrides: tuple[str, ...], task: str = "pictures") -> list[str]:
    name, own = "math_tiny", [f"trainer.save_checkpoint_path={folder}"]
    if task == "pictures":
        name, own = "geo3k_tiny", [*own, f"data.train_files={problems}"]
    return [str(REPOSITORY / f"configs/{name}.yaml"), *SMALL, *own, *overrides]


@pytest.fixture
def run(tmp_path, problems, capfd):
    """`run(*overrides, folder=..., task="pictures")` trains in this process, on pictures or on text."""

    def start(*overrides: str, folder: Path | None = None, task: str = "pictures") -> Run:
        folder = folder or tmp_path / "run"
        status = train.main(arguments(folder, problems, overrides, task))
        captured = capfd.readouterr()
        return Run(status, captured.out + captured.err, folder)

    return start


@pytest.fixture
def start_process(problems):
    """`start_process(folder, *overrides)` trains in another process, to be killed."""

    def start(folder: Path, *overrides: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "echorl_vl.train", *arguments(folder, problems, overrides)],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start
