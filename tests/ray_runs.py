"""Shared by the tests of the engines on Ray: whole runs in separate processes, and updates rank by rank."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from finished_run import MARK, FinishedRun, left_after

from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files
from echorl_vl.outputs.tracker import read_metrics

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = REPOSITORY / "configs/geo3k_tiny.yaml"

SMALL = [
    "trainer.device=cpu",
    "trainer.n_gpus_per_node=1",
    "trainer.max_steps=2",
    "trainer.val_freq=-1",
    "trainer.val_before_train=false",
    "trainer.save_freq=-1",
    "trainer.logger=[file]",
    "data.rollout_batch_size=4",
    "worker.rollout.n=4",
    "worker.actor.micro_batch_size_per_device_for_experience=8",
]
"""Overrides of `RECIPE` for a CPU dry run of a minute, most of it the start of Ray."""


def expect(condition: bool, host: Any, what: str, found: Any = None) -> None:
    """Assert a behaviour of the host; the failure names the host and both versions."""
    got = "" if found is None else f"; got {found}"
    versions = f"tested with {host.measured}, got {host.found()}"
    assert condition, f"{host.name} has changed ({versions}): expected that {what}{got}"


# --- whole runs ---

LONGEST = 900
"""Maximum seconds of a run, which takes a minute on two idle cores."""


class Run(FinishedRun):
    """A run in another process. Every process that it starts is marked."""

    @property
    def training(self) -> list[dict]:
        return [row for row in self.metrics if "actor/pg_loss" in row]

    def rollouts(self, step: int) -> list[dict]:
        return read_rollouts(rollout_files(self.folder)[step])


def in_background(arguments: list[str], log: Path, **environment: str) -> subprocess.Popen:
    """Start `python ARGUMENTS` with its output in `log`. Its processes are marked with the name of the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), MARK: str(log)} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def dry_runs(new_folder: Callable[[], Path], *overrides: str) -> Callable[..., Any]:
    """Returns `start(*more, folder=None, wait=True)`, which trains `RECIPE` on the CPU with `overrides` and `more`.

    It returns a finished Run, or without `wait` the process and the run folder, with the log next to it.
    """

    def start(*more: str, folder: Path | None = None, wait: bool = True):
        folder = folder or new_folder() / "run"
        own = [*overrides, f"trainer.save_checkpoint_path={folder}", *more]
        log = folder.with_suffix(".log")
        process = in_background(["-m", "echorl_vl.train", str(RECIPE), *own], log)
        if not wait:
            return process, folder
        return Run(process.wait(timeout=LONGEST), log.read_text(errors="replace"), folder)

    return start


def wait_for(condition: Callable[[], Any], process: subprocess.Popen, folder: Path, pause: float = 0.2) -> None:
    deadline, log = time.time() + LONGEST, folder.with_suffix(".log")
    while not condition():
        assert process.poll() is None and time.time() < deadline, log.read_text()[-3000:]
        time.sleep(pause)


def all_ended(folder: Path) -> bool:
    """Whether all processes of a run have ended 15 seconds after it."""
    return left_after(str(folder.with_suffix(".log")), seconds=15) == {}


def error_of(output: str) -> str:
    """The error that ended a run, without a traceback."""
    error = output.rsplit("error:", 1)[1]
    assert "Traceback" not in error
    return error


def check_files(run: Run, *more: str) -> None:
    """A run of two steps with a checkpoint after each has succeeded and written the local engine's files."""
    assert run.status == 0, run.output[-3000:]
    assert run.summary["finished"] is True
    expected = {"config.yaml", "environment.json", "metrics.jsonl", "rollouts", "validation", "plots", *more}
    assert expected | {"global_step_1", "global_step_2"} <= {path.name for path in run.folder.iterdir()}
    assert (run.folder / "plots" / "summary.png").stat().st_size > 10_000


def check_metrics(run: Run, names: set[str]) -> None:
    assert [row["step"] for row in run.training] == [1, 2]
    for row in run.training:
        assert names <= set(row)
        assert row["echo/clips"] > 0 and row["echo/loss"] > 0 and row["echo/coef"] == 0.001
        assert row["actor/skipped_steps"] == 0


def check_validation(run: Run, questions: list[str]) -> None:
    """Validations before, between and after the steps count every problem."""
    rows = [row for row in run.metrics if "val/accuracy_reward" in row]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert list(rollout_files(run.folder, "validation")) == [0, 1, 2]
    assert all(row["val/problems"] == len(questions) and 0 <= row["val/accuracy_se"] < 0.5 for row in rows)
    for step, path in rollout_files(run.folder, "validation").items():
        answers = read_rollouts(path)
        accuracy = sum(answer["reward_accuracy"] for answer in answers) / len(answers)
        assert sorted(answer["question"] for answer in answers) == sorted(questions)
        assert accuracy == pytest.approx(rows[step]["val/accuracy_reward"])


def check_clips(run: Run, uids: dict[str, str]) -> list[dict]:
    """The rows of the first step: clips are prefixes of correct responses to problems of the training set.

    uids: of the training set's problems, with their questions.
    """
    rows = run.rollouts(1)
    assert len(rows) == 16 and {row["group"] for row in rows} == {0, 1, 2, 3}
    assert all(row["question"] == uids[row["uid"]] for row in rows)
    sources = [row for row in rows if row["is_clip_source"]]
    assert len(sources) == run.training[0]["echo/clips"]
    own_entropy = sum(row["clip_step_entropy"] for row in sources) / len(sources)
    assert run.training[0]["echo/clip_step_entropy"] == pytest.approx(own_entropy)
    for row in sources:
        assert row["verified"] and row["reward_accuracy"] == 1.0
        same = [other for other in rows if other["group"] == row["group"] and other["verified"]]
        highest = max(value for other in same for value in other["step_entropies"])
        assert row["clip_step_entropy"] == pytest.approx(highest)
    return rows


def check_killed_and_resumed(dry_run: Callable[..., Any]) -> Run:
    """A run with two workers is killed after two steps, and the same command resumes it; returns the finished run."""
    overrides = ["trainer.n_gpus_per_node=2", "trainer.max_steps=4", "trainer.save_freq=1", "trainer.save_limit=2"]
    process, folder = dry_run(*overrides, wait=False)
    # Hosts save before they log: a kill in between loses the step's row of metrics, but not its weights.
    wait_for(lambda: any(row["step"] >= 2 for row in _metrics(folder)), process, folder)
    process.kill()  # only this process: Ray has to end the others
    process.wait()
    assert all_ended(folder)
    before = {row["step"]: row for row in read_metrics(folder)}
    run = dry_run(*overrides, folder=folder)
    assert run.status == 0, run.output[-3000:]
    assert "holds an unfinished run: resuming from global_step_" in run.output
    assert [row["step"] for row in run.training] == [1, 2, 3, 4]
    assert {row["step"]: row for row in run.training}[1] == before[1]
    assert run.summary["finished"] is True
    ranks = {path.name for path in (folder / "global_step_4" / "actor").glob("model_*")}
    assert ranks == {"model_world_size_2_rank_0.pt", "model_world_size_2_rank_1.pt"}
    return run


def check_stop(dry_run: Callable[..., Any]) -> None:
    """SIGTERM, like Ctrl-C, ends a run after its step with a checkpoint, and a note says how to resume."""
    process, folder = dry_run("trainer.max_steps=500", wait=False)
    wait_for(lambda: (folder / "rollouts").exists(), process, folder)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=LONGEST) == 130
    output = folder.with_suffix(".log").read_text()
    assert "stopping after this step" in output
    assert "stopped; the same command resumes from global_step_" in output
    assert not (folder / "summary.json").exists() and not (folder / "stop").exists()


def check_lost_answers(dry_run: Callable[..., Any], reward: Path) -> Run:
    """Answers without a score get 0 and are counted; returns the finished run."""
    reward.write_text(HANGS_OR_RAISES)
    run = dry_run(
        f"worker.reward.reward_function={reward}:compute_score",
        "worker.reward.on_error=zero",
        "worker.reward.time_limit=3",
        "trainer.val_before_train=true",
        "data.rollout_batch_size=8",
    )
    assert run.status == 0, run.output[-3000:]
    rows = run.training
    assert sum(row["reward/timeouts"] for row in rows) > 0 and sum(row["reward/errors"] for row in rows) > 0
    assert re.search(r"warning: step \d+.*: answers not scored: ", run.output)
    for step, row in enumerate(rows, 1):
        zeros = [rollout for rollout in run.rollouts(step) if rollout["reward_overall"] == 0]
        assert len(zeros) >= row["reward/timeouts"] + row["reward/errors"]
        assert not any(rollout["is_clip_source"] for rollout in zeros)
    return run


def check_no_score_ends_the_run(dry_run: Callable[..., Any], reward: Path) -> None:
    reward.write_text("import time\n\ndef compute_score(rows):\n    time.sleep(600)\n")
    run = dry_run(f"worker.reward.reward_function={reward}:compute_score", "worker.reward.time_limit=0.3")
    assert run.status == 2
    expected = "each of the 16 answers of this step took longer than worker.reward.time_limit"
    assert expected in error_of(run.output)
    assert all_ended(run.folder)


def check_a_reward_that_raises_ends_the_run(dry_run: Callable[..., Any], reward: Path) -> None:
    reward.write_text("def compute_score(rows):\n    raise RuntimeError('no such thing as an answer')\n")
    run = dry_run(f"worker.reward.reward_function={reward}:compute_score")
    assert run.status == 2 and "no such thing as an answer" in error_of(run.output)


HANGS_OR_RAISES = """
import time
from zlib import crc32

REWARD_TYPE = "sequential"

def compute_score(row):
    kind = crc32(row["response"].encode()) % 8
    if kind == 0:
        time.sleep(60)
    if kind == 1:
        raise RuntimeError("no such thing as an answer")
    return {"overall": float(kind % 2), "accuracy": float(kind % 2)}
"""


def _metrics(folder: Path) -> list[dict]:
    return read_metrics(folder) if (folder / "metrics.jsonl").is_file() else []


# --- small models and sets ---


def write_sums(path: Path, count: int) -> Path:
    """Problems without images."""
    rows = [{"problem": f"What is {number} + {number}?", "answer": str(2 * number)} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def save_text_model(folder: Path, tokenizer: Any, longest: int) -> Path:
    """A Qwen2 of some ten thousand random parameters for a tokenizer."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=longest, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- updates, rank by rank ---

PROMPTS, N, STEPS, COEF = 8, 4, 2, 0.5  # a coefficient large enough for the echo term to matter


def graded_rollouts(config: Any, path: Path):
    """(policy, train batch) of rollouts of the first problems: half are correct, and all of one group; not mined."""
    from echorl_vl.data.prompts import PromptEncoder
    from echorl_vl.data.sources import load_problems
    from echorl_vl.engines.local.advantages import compute_advantages
    from echorl_vl.engines.local.policy import Policy
    from echorl_vl.engines.local.rollout import generate
    from echorl_vl.engines.local.sampling import training_params

    torch.manual_seed(0)
    policy = Policy.load(config.worker.actor.model, "cpu")
    encoder = PromptEncoder(policy.processor, policy.tokenizer, min_pixels=12544, max_pixels=12544)
    problems = load_problems(str(path))
    prompts = [encoder.encode(problems[index]) for index in range(PROMPTS)]
    rollouts = generate(policy, prompts, training_params(config), torch.Generator().manual_seed(3))
    correct = torch.rand(PROMPTS * N, generator=torch.Generator().manual_seed(4)) < 0.5
    correct[:N] = True  # a degenerate group
    scores = [{"overall": float(value), "accuracy": float(value)} for value in correct]
    train_batch = compute_advantages(dataclasses.replace(rollouts, scores=scores), config)
    noise = torch.randn(rollouts.log_probs.shape, generator=torch.Generator().manual_seed(5))
    train_batch.ref_log_probs = rollouts.log_probs + 0.1 * noise
    return policy, train_batch


def local_gradients(policy: Any, train_batch: Any, config: Any, coef: float, kl_coef: float = 0.0) -> dict:
    """Gradients of each optimizer step of the local engine's update, and its metrics."""
    from echorl_vl.engines.local.optim import make_optimizer
    from echorl_vl.engines.local.update import Updater

    updater = Updater(policy, make_optimizer(policy.model, config.worker.actor.optim), config, 10)
    gradients: list[dict] = []
    updater.optimizer.step = partial(_note_gradients, policy.model, gradients)
    return {"metrics": updater.update(train_batch, coef, kl_coef), "gradients": gradients}


def _note_gradients(model: torch.nn.Module, gradients: list[dict]) -> None:
    gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})


def run_ranks(script: Path, job: Path, world: int) -> list[dict]:
    """Run `world` processes `python SCRIPT JOB RANK WORLD PORT`; returns what each wrote to `result_WORLD_RANK.pt`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(job), str(rank), str(world), port],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output[-4000:]
    return [torch.load(job / f"result_{world}_{rank}.pt", weights_only=False) for rank in range(world)]


def rank_environment(rank: int, world: int, port: str) -> dict[str, str]:
    """Environment variables of a rank, for torch's process groups and both hosts' workers."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "DISABLE_WORKER_INIT": "1",
    }


def rows_of_rank(rows: int, steps: int, rank: int, world: int, shuffled: bool = False) -> torch.Tensor:
    """The rows of a rank, such that every optimizer step has the same rows for any `world`."""
    parts = torch.arange(rows).view(steps, world, -1)[:, rank]
    if shuffled:
        parts = torch.stack([part[torch.randperm(len(part))] for part in parts])
    return parts.flatten()


def difference(found: list[dict], expected: list[dict]) -> float:
    """Largest relative norm of the difference over the optimizer steps."""
    assert len(found) == len(expected) and len(found) % STEPS == 0
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        names = sorted(other)
        assert set(one) >= set(names)
        flat = [torch.cat([gradients[name].flatten() for name in names]) for gradients in (one, other)]
        worst = max(worst, ((flat[0] - flat[1]).norm() / flat[1].norm()).item())
    return worst
