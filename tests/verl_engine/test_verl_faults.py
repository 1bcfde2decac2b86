"""Runs of verl in which something fails: a process dies, a reward function hangs or raises."""

from __future__ import annotations

import os
import signal

import pytest
from finished_run import processes
from ray_runs import LONGEST, all_ended, check_lost_answers, check_no_score_ends_the_run, error_of, wait_for

pytestmark = pytest.mark.slow


def test_dead_process_ends_the_run_while_verl_polls_for_its_rollouts(dry_run):
    """verl submits prompts to the agent loop and then polls its queue for rows, forever if that process is dead."""
    process, folder = dry_run("trainer.max_steps=500", "data.max_response_length=200", wait=False)
    log = folder.with_suffix(".log")
    wait_for(lambda: (folder / "rollouts").exists() and running(log, "Server.generate"), process, folder, pause=0.01)
    (pid,) = running(log, "AgentLoopWorker")
    os.kill(pid, signal.SIGKILL)
    assert process.wait(timeout=LONGEST) == 2
    assert f"a process of this run died: AgentLoopWorkerTQ (pid {pid}" in error_of(log.read_text())
    assert all_ended(folder)


def running(log, name: str) -> list[int]:
    return [pid for pid, command in processes(str(log)).items() if name in command]


def test_unscored_answers_get_0_and_are_counted(dry_run, tmp_path):
    check_lost_answers(dry_run, tmp_path / "reward.py")


def test_step_without_any_score_ends_the_run(dry_run, tmp_path):
    check_no_score_ends_the_run(dry_run, tmp_path / "hangs.py")
