"""EasyR1 runs on a CPU. Everything here skips where EasyR1 is not installed: `make test-easyr1` says how to run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from finished_run import MARK, FinishedRun

from echorl_vl.engines.easyr1.hooks import easyr1_installed, found_verl
from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files

REPOSITORY = Path(__file__).resolve().parents[2]

SMALL = [
    "engine=easyr1",
    "trainer.device=cpu",
    "trainer.n_gpus_per_node=1",
    "trainer.max_steps=2",
    "trainer.val_freq=-1",
    "trainer.val_before_train=false",
    "trainer.save_freq=-1",
    "trainer.logger=[file]",
    "data.rollout_batch_size=4",
    "data.max_response_length=64",
    "data.filter_overlong_prompts_workers=1",
    "worker.rollout.n=4",
    "worker.actor.global_batch_size=4",
    "worker.actor.micro_batch_size_per_device_for_update=8",
    "worker.actor.micro_batch_size_per_device_for_experience=8",
]
"""Overrides of configs/geo3k_tiny.yaml for a CPU dry run of a minute, most of which is the start of Ray."""


@pytest.fixture(scope="session")
def easyr1() -> None:
    """Skips, with the reason, where `import verl` does not bring EasyR1."""
    if not easyr1_installed():
        pytest.skip(f"EasyR1 is not installed here: found {found_verl()}; see docs/easyr1.md")


@pytest.fixture(scope="session")
def problems(tmp_path_factory) -> dict[str, Path]:
    """Files of generated problems: 24 to train on, 8 held out."""
    from echorl_vl.generators.geometry3k.generate import main

    folder = tmp_path_factory.mktemp("problems")
    files = {"train": folder / "train.parquet", "validation": folder / "validation.parquet"}
    for split, size in (("train", 24), ("validation", 8)):
        assert main(["--split", split, "--size", str(size), "--out", str(files[split])]) == 0
    return files


class Run(FinishedRun):
    """A run of EasyR1 in another process."""

    @property
    def training(self) -> list[dict]:
        return [row for row in self.metrics if "actor/pg_loss" in row]

    def rollouts(self, step: int) -> list[dict]:
        return read_rollouts(rollout_files(self.folder)[step])


def arguments(folder: Path, problems: dict[str, Path], *overrides: str) -> list[str]:
    own = [
        f"data.train_files={problems['train']}",
        f"data.val_files={problems['validation']}",
        f"trainer.save_checkpoint_path={folder}",
    ]
    return [str(REPOSITORY / "configs/geo3k_tiny.yaml"), *SMALL, *own, *overrides]


@pytest.fixture(scope="session")
def dry_run(easyr1, problems, tmp_path_factory):
    """`dry_run(*overrides, folder=...)` runs `python -m echorl_vl.train` with EasyR1 on the CPU."""

    def start(*overrides: str, folder: Path | None = None, wait: bool = True):
        folder = folder or tmp_path_factory.mktemp("run") / "run"
        log = folder.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "echorl_vl.train", *arguments(folder, problems, *overrides)],
                cwd=REPOSITORY,
                env=os.environ | {"OMP_NUM_THREADS": "1", MARK: str(folder)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if not wait:
            return process, folder
        status = process.wait(timeout=420)
        return Run(status, log.read_text(errors="replace"), folder)

    return start


@pytest.fixture
def plain_easyr1(easyr1, problems, tmp_path):
    """`plain_easyr1(*overrides)` runs EasyR1's own command line, without the adapter, and gives its output folder."""

    def start(*overrides: str) -> Path:
        folder = tmp_path / "plain"
        process = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("plain.py")), *arguments(folder, problems, *overrides)],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=420,
        )
        assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
        return folder

    return start


@pytest.fixture(scope="session")
def text_model(tmp_path_factory) -> Path:
    """A Qwen2 of a few thousand parameters with random weights and the tiny policy's tokenizer."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("text_model")
    tokenizer = AutoTokenizer.from_pretrained(REPOSITORY / "echorl_vl/tiny/model")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def text_problems(tmp_path_factory) -> Path:
    """Eight problems without pictures."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    rows = [{"problem": f"What is {number} + {number}?", "answer": str(2 * number)} for number in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
