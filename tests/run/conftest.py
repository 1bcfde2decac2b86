"""Short runs of the local engine through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from short_runs import REPOSITORY, Run, arguments

from echorl_vl import train


@pytest.fixture(scope="session")
def problems(tmp_path_factory) -> Path:
    """A file of 24 generated problems, faster than generating the whole split."""
    from echorl_vl.generators.geometry3k.generate import main

    path = tmp_path_factory.mktemp("problems") / "train.parquet"
    assert main(["--split", "train", "--size", "24", "--out", str(path)]) == 0
    return path


@pytest.fixture
def run(tmp_path, problems, capfd):
    """`run(*overrides, folder=..., task="images")` trains in this process, on images or on text."""

    def start(*overrides: str, folder: Path | None = None, task: str = "images") -> Run:
        folder = folder or tmp_path / "run"
        status = train.main(arguments(folder, problems, overrides, task))
        captured = capfd.readouterr()
        return Run(status, captured.out + captured.err, folder)

    return start


@pytest.fixture
def start_process(problems):
    """`start_process(folder, *overrides)` trains in another process, which a test can kill."""

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
