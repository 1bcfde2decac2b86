"""Tests of EasyR1 on a CPU. Those that need EasyR1 are skipped if it is not installed; see `make test-easyr1`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray_runs import LONGEST, RECIPE, REPOSITORY, SMALL, dry_runs, save_text_model, write_sums

from echorl_vl.engines.easyr1.hooks import HOST

OWN = [
    "engine=easyr1",
    "data.max_response_length=64",
    "data.filter_overlong_prompts_workers=1",
    "worker.actor.global_batch_size=4",
    "worker.actor.micro_batch_size_per_device_for_update=8",
]


@pytest.fixture(scope="session")
def easyr1() -> None:
    """Skips with a reason unless `import verl` imports EasyR1."""
    if not HOST.is_installed():
        pytest.skip(f"EasyR1 is not installed here: found {HOST.found()}; see docs/easyr1.md")


@pytest.fixture(scope="session")
def problems(tmp_path_factory) -> dict[str, Path]:
    """Files of generated problems: 24 to train on, 8 for validation."""
    from echorl_vl.generators.geometry3k.generate import main

    folder = tmp_path_factory.mktemp("problems")
    files = {"train": folder / "train.parquet", "validation": folder / "validation.parquet"}
    for split, size in (("train", 24), ("validation", 8)):
        assert main(["--split", split, "--size", str(size), "--out", str(files[split])]) == 0
    return files


@pytest.fixture(scope="session")
def small_run(problems) -> list[str]:
    """Overrides of a small run."""
    sets = [f"data.train_files={problems['train']}", f"data.val_files={problems['validation']}"]
    return [*SMALL, *OWN, *sets]


@pytest.fixture(scope="session")
def dry_run(easyr1, small_run, tmp_path_factory):
    """See `dry_runs`."""
    return dry_runs(lambda: tmp_path_factory.mktemp("run"), *small_run)


@pytest.fixture
def plain_easyr1(easyr1, small_run, tmp_path):
    """`plain_easyr1(*more)` runs EasyR1's own command line without the adapter; returns its output folder."""

    def start(*more: str) -> Path:
        folder = tmp_path / "plain"
        own = [*small_run, f"trainer.save_checkpoint_path={folder}", *more]
        process = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("plain.py")), str(RECIPE), *own],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=LONGEST,
        )
        assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
        return folder

    return start


@pytest.fixture(scope="session")
def text_model(tmp_path_factory) -> Path:
    """A small Qwen2 with the tiny policy's tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(REPOSITORY / "echorl_vl/tiny/model")
    return save_text_model(tmp_path_factory.mktemp("text_model"), tokenizer, longest=256)


@pytest.fixture(scope="session")
def text_problems(tmp_path_factory) -> Path:
    """Eight problems without images."""
    return write_sums(tmp_path_factory.mktemp("text") / "text.jsonl", 8)
