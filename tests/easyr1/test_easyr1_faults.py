"""Runs of EasyR1 in which something fails: a process dies, a reward function hangs or raises."""

from __future__ import annotations

import os
import signal
import time

import pytest
from finished_run import left_after, processes

pytestmark = pytest.mark.slow


def test_a_worker_that_dies_ends_the_run_with_its_name(dry_run):
    process, folder = dry_run("trainer.max_steps=500", "trainer.save_freq=1", wait=False)
    log, deadline = folder.with_suffix(".log"), time.time() + 300
    while not (folder / "global_step_1" / "dataloader.pt").exists():
        assert process.poll() is None and time.time() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
    (pid,) = [pid for pid, command in processes(str(folder)).items() if "WorkerDict" in command]
    os.kill(pid, signal.SIGKILL)
    assert process.wait(timeout=180) == 2
    error = log.read_text().rsplit("error:", 1)[1]
    assert f"a process of this run died: WorkerDict (pid {pid}" in error and "Traceback" not in error
    assert f"Checkpoints up to now are in {folder}" in error
    assert left_after(str(folder), seconds=15) == {}


REWARD = """
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


def test_answers_that_are_not_scored_get_0_and_are_counted(dry_run, tmp_path):
    reward = tmp_path / "reward.py"
    reward.write_text(REWARD)
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
    assert "warning: answers not scored: " in run.output
    for step, row in enumerate(rows, 1):
        lost = row["reward/timeouts"] + row["reward/errors"]
        zeros = [rollout for rollout in run.rollouts(step) if rollout["reward_overall"] == 0]
        assert len(zeros) >= lost and not any(rollout["is_clip_source"] for rollout in zeros)
    assert "reward/not_scored" not in rows[0]


def test_a_step_without_a_single_score_ends_the_run(dry_run, tmp_path):
    reward = tmp_path / "hangs.py"
    reward.write_text("import time\n\ndef compute_score(rows):\n    time.sleep(600)\n")
    run = dry_run(f"worker.reward.reward_function={reward}:compute_score", "worker.reward.time_limit=0.3")
    assert run.status == 2
    error = run.output.rsplit("error:", 1)[1]
    assert "every one of the 16 answers of this step took longer than worker.reward.time_limit" in error
    assert "Traceback" not in error
    assert left_after(str(run.folder), seconds=15) == {}


def test_a_reward_function_that_raises_ends_the_run(dry_run, tmp_path):
    reward = tmp_path / "raises.py"
    reward.write_text("def compute_score(rows):\n    raise RuntimeError('no such thing as an answer')\n")
    run = dry_run(f"worker.reward.reward_function={reward}:compute_score")
    assert run.status == 2
    error = run.output.rsplit("error:", 1)[1]
    assert "no such thing as an answer" in error and "Traceback" not in error


STARTS_AND_HANGS = """
import subprocess, time
from pathlib import Path

def compute_score(rows):
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path(__file__).with_name("started").touch()
    time.sleep(600)
"""


def test_a_driver_that_is_killed_leaves_no_reward_function_behind(dry_run, tmp_path):
    reward = tmp_path / "reward.py"
    reward.write_text(STARTS_AND_HANGS)
    process, folder = dry_run(
        f"worker.reward.reward_function={reward}:compute_score", "worker.reward.time_limit=600", wait=False
    )
    deadline = time.time() + 300
    while not (tmp_path / "started").exists():
        assert process.poll() is None and time.time() < deadline, folder.with_suffix(".log").read_text()[-3000:]
        time.sleep(0.2)
    assert any("sleep 600" in command for command in processes(str(folder)).values())
    process.kill()
    process.wait()
    assert left_after(str(folder), seconds=15) == {}
