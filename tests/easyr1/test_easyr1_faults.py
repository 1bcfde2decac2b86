"""Runs of EasyR1 in which something fails: a process dies, a reward function hangs or raises."""

from __future__ import annotations

import os
import signal

import pytest
from finished_run import processes
from ray_runs import (
    LONGEST,
    all_ended,
    check_a_reward_that_raises_ends_the_run,
    check_lost_answers,
    check_no_score_ends_the_run,
    error_of,
    wait_for,
)

pytestmark = pytest.mark.slow


def test_dead_worker_ends_the_run_and_is_named(dry_run):
    process, folder = dry_run("trainer.max_steps=500", "trainer.save_freq=1", wait=False)
    wait_for(lambda: (folder / "global_step_1" / "dataloader.pt").exists(), process, folder)
    log = folder.with_suffix(".log")
    (pid,) = [pid for pid, command in processes(str(log)).items() if "WorkerDict" in command]
    os.kill(pid, signal.SIGKILL)
    assert process.wait(timeout=LONGEST) == 2
    error = error_of(log.read_text())
    assert f"a process of this run died: WorkerDict (pid {pid}" in error
    assert f"checkpoint in {folder}" in error
    assert all_ended(folder)


def test_unscored_answers_get_0_and_are_counted(dry_run, tmp_path):
    run = check_lost_answers(dry_run, tmp_path / "reward.py")
    assert "reward/not_scored" not in run.training[0]


def test_step_without_any_score_ends_the_run(dry_run, tmp_path):
    check_no_score_ends_the_run(dry_run, tmp_path / "hangs.py")


def test_reward_function_that_raises_ends_the_run(dry_run, tmp_path):
    check_a_reward_that_raises_ends_the_run(dry_run, tmp_path / "raises.py")


STARTS_AND_HANGS = """
import subprocess, time
from pathlib import Path

def compute_score(rows):
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path(__file__).with_name("started").touch()
    time.sleep(600)
"""


def test_killed_driver_leaves_no_reward_process(dry_run, tmp_path):
    reward = tmp_path / "reward.py"
    reward.write_text(STARTS_AND_HANGS)
    process, folder = dry_run(
        f"worker.reward.reward_function={reward}:compute_score", "worker.reward.time_limit=600", wait=False
    )
    wait_for(lambda: (tmp_path / "started").exists(), process, folder)
    assert any("sleep 600" in command for command in processes(str(folder.with_suffix(".log"))).values())
    process.kill()
    process.wait()
    assert all_ended(folder)
