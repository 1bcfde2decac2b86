"""Runs of verl in which something fails: a process dies, a reward function hangs or raises."""

from __future__ import annotations

import os
import signal
import time

import pytest
from finished_run import left_after, processes

pytestmark = pytest.mark.slow


def test_a_process_that_dies_while_verl_polls_for_its_rollouts_ends_the_run(dry_run):
    """verl submits prompts to the agent loop and then asks its queue for rows, for ever if that process is gone."""
    process, folder = dry_run("trainer.max_steps=500", "data.max_response_length=200", wait=False)
    log, deadline = folder.with_suffix(".log"), time.time() + 300
    while not (folder / "rollouts").exists() or not running(log, "Server.generate"):
        assert process.poll() is None and time.time() < deadline, log.read_text()[-3000:]
        time.sleep(0.01)
    (pid,) = running(log, "AgentLoopWorker")
    os.kill(pid, signal.SIGKILL)
    assert process.wait(timeout=180) == 2
    error = log.read_text().rsplit("error:", 1)[1]
    assert f"a process of this run died: AgentLoopWorkerTQ (pid {pid}" in error and "Traceback" not in error
    assert left_after(str(log), seconds=15) == {}


def running(log, name: str) -> list[int]:
    return [pid for pid, command in processes(str(log)).items() if name in command]


REWARD = """
import time
from zlib import crc32

def compute_score(rows):
    scores = []
    for row in rows:
        kind = crc32(row["response"].encode()) % 8
        if kind == 0:
            time.sleep(60)
        if kind == 1:
            raise RuntimeError("no such thing as an answer")
        scores.append({"overall": float(kind % 2), "accuracy": float(kind % 2)})
    return scores
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
        zeros = [rollout for rollout in run.rollouts(step) if rollout["reward_overall"] == 0]
        assert len(zeros) >= row["reward/timeouts"] + row["reward/errors"]
        assert not any(rollout["is_clip_source"] for rollout in zeros)


def test_a_step_without_a_single_score_ends_the_run(dry_run, tmp_path):
    reward = tmp_path / "hangs.py"
    reward.write_text("import time\n\ndef compute_score(rows):\n    time.sleep(600)\n")
    run = dry_run(f"worker.reward.reward_function={reward}:compute_score", "worker.reward.time_limit=0.3")
    assert run.status == 2
    error = run.output.rsplit("error:", 1)[1]
    assert "every one of the 16 answers of this step took longer than worker.reward.time_limit" in error
    assert "Traceback" not in error
    assert left_after(str(run.folder.with_suffix(".log")), seconds=15) == {}
