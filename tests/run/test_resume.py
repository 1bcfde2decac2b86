"""A run that was killed or stopped goes on as if nothing had happened."""

from __future__ import annotations

import signal
import time

import pytest
from safetensors.torch import load_file

from echorl_vl.outputs.tracker import read_metrics

pytestmark = pytest.mark.timeout(400)

SETTINGS = ("trainer.max_steps=6", "trainer.save_freq=2", "worker.actor.ppo_epochs=2", "echo.coef=0.1")


def wait_for_step(folder, step: int, process) -> None:
    """Returns once metrics.jsonl holds this step."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "metrics.jsonl").is_file() and any(row["step"] >= step for row in read_metrics(folder)):
            return
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached: {process.communicate(timeout=5)[0]}")


def outcome(folder):
    rows = [
        {k: v for k, v in row.items() if not k.startswith(("timing_s/", "perf/", "time"))}
        for row in read_metrics(folder)
    ]
    return rows, load_file(folder / "global_step_6/actor/huggingface/model.safetensors")


def finish(process) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_after_kill_9_the_numbers_are_those_of_a_run_never_stopped(start_process, tmp_path) -> None:
    finish(start_process(tmp_path / "whole", *SETTINGS))
    killed = start_process(tmp_path / "killed", *SETTINGS)
    wait_for_step(tmp_path / "killed", 3, killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed/global_step_6").exists()
    output = finish(start_process(tmp_path / "killed", *SETTINGS))
    assert "going on from global_step_2" in output or "going on from global_step_4" in output
    rows, weights = outcome(tmp_path / "whole")
    again, weights_again = outcome(tmp_path / "killed")
    assert rows == again
    assert all((weights[name] == weights_again[name]).all() for name in weights)


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(start_process, tmp_path) -> None:
    settings = (*SETTINGS, "trainer.save_freq=-1", "trainer.max_steps=40")
    process = start_process(tmp_path / "run", *settings)
    wait_for_step(tmp_path / "run", 2, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command goes on" in output
    saved = sorted((tmp_path / "run").glob("global_step_*"))
    assert len(saved) == 1 and int(saved[0].name.rpartition("_")[2]) >= 2
    assert (tmp_path / "run/metrics.jsonl").is_file() and not (tmp_path / "run/summary.json").exists()
