"""A run that was killed or stopped resumes with the results of one without a stop."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from echorl_vl.engines.local import trainer as local_trainer
from echorl_vl.outputs import plots, summary
from echorl_vl.outputs.tracker import read_metrics

pytestmark = pytest.mark.timeout(400)

SETTINGS = ("trainer.max_steps=6", "trainer.save_freq=2", "worker.actor.ppo_epochs=2", "echo.coef=0.1")


def wait_for_step(folder, step: int, process) -> None:
    """Waits until metrics.jsonl has this step."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "metrics.jsonl").is_file() and any(row["step"] >= step for row in read_metrics(folder)):
            return
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached: {process.communicate(timeout=5)[0]}")


def outcome(folder, step: int = 6):
    rows = [
        {k: v for k, v in row.items() if not k.startswith(("timing_s/", "perf/", "time"))}
        for row in read_metrics(folder)
    ]
    return rows, load_file(folder / f"global_step_{step}/actor/huggingface/model.safetensors")


def assert_same(one, other) -> None:
    """Compares two outcomes bit for bit."""
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys() and all((one[1][name] == other[1][name]).all() for name in one[1])


class Killed(BaseException):
    """Simulates a kill within a process: no `except` catches it, only `finally` blocks run."""


def kill(*_, **__):
    raise Killed


def finish(process) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_a_run_killed_by_sigkill_resumes_with_the_same_numbers(start_process, tmp_path) -> None:
    finish(start_process(tmp_path / "whole", *SETTINGS))
    killed = start_process(tmp_path / "killed", *SETTINGS)
    wait_for_step(tmp_path / "killed", 3, killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed/global_step_6").exists()
    output = finish(start_process(tmp_path / "killed", *SETTINGS))
    assert "resuming from global_step_2" in output or "resuming from global_step_4" in output
    assert_same(outcome(tmp_path / "whole"), outcome(tmp_path / "killed"))


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint_and_says_how_to_resume(start_process, tmp_path) -> None:
    settings = (*SETTINGS, "trainer.save_freq=-1", "trainer.max_steps=40")
    process = start_process(tmp_path / "run", *settings)
    wait_for_step(tmp_path / "run", 2, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command resumes from the newest checkpoint" in output
    saved = sorted((tmp_path / "run").glob("global_step_*"))
    assert len(saved) == 1 and int(saved[0].name.rpartition("_")[2]) >= 2
    assert (tmp_path / "run/metrics.jsonl").is_file() and not (tmp_path / "run/summary.json").exists()


def states(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("global_step_*/training_state.pt"))


@pytest.mark.slow
def test_with_save_model_only_a_killed_run_resumes(run, monkeypatch, tmp_path) -> None:
    settings = ("trainer.save_model_only=true", "trainer.max_steps=3", "trainer.save_freq=1")
    whole = run(*settings, folder=tmp_path / "whole")
    assert whole.status == 0, whole.output
    assert states(whole.folder) == []  # no checkpoint has a training state
    original, killed = local_trainer.Trainer._train_step, tmp_path / "killed"

    def killed_in_the_last(self) -> None:
        if self.step == 2:
            raise Killed
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(local_trainer.Trainer, "_train_step", killed_in_the_last)
        with pytest.raises(Killed):
            run(*settings, folder=killed)
    assert states(killed) == ["global_step_2"]
    again = run(*settings, folder=killed)
    assert again.status == 0 and "resuming from global_step_2" in again.output, again.output
    assert_same(outcome(whole.folder, 3), outcome(killed, 3))
    assert states(killed) == []


@pytest.mark.parametrize(
    ("place", "name", "left"),
    [
        pytest.param(local_trainer.Trainer, "_validate", "the step", marks=pytest.mark.slow),
        pytest.param(local_trainer, "save_checkpoint", "the step", marks=pytest.mark.slow),
        pytest.param(local_trainer, "drop_older_states", "the end, after loading", marks=pytest.mark.slow),
        pytest.param(summary, "summarize", "the end", marks=pytest.mark.slow),
        (plots, "write_plots", "the end"),
    ],
)
def test_a_kill_between_the_last_step_and_the_end_is_recovered(
    run, problems, monkeypatch, tmp_path, place, name, left
) -> None:
    """The same command does the rest, in the same folder."""
    settings = (f"data.val_files={problems}", "trainer.save_model_only=true", "trainer.max_steps=1")
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(place, name, kill)
        with pytest.raises(Killed):
            run(*settings, folder=folder)
    assert not (folder / "summary.json").exists()
    if left == "the end":  # the model is not needed any more
        monkeypatch.setattr("echorl_vl.engines.local.run.build_context", kill)
    done = run(*settings, folder=folder)
    assert done.status == 0, done.output
    assert done.summary["finished"] and done.summary["steps"] == 1 and "val/accuracy_after" in done.summary
    assert (folder / "plots/learning.png").is_file()
    assert not (tmp_path / "run_2").exists()
    assert ("only its summary and plots are left" in done.output) == (left == "the end")
    assert [path.name for path in folder.glob(".*") if path.name != ".lock"] == []


@pytest.mark.slow
def test_a_longer_run_resumes_at_the_end_of_a_finished_one(run, tmp_path) -> None:
    settings = ("trainer.save_freq=2",)
    whole = run(*settings, "trainer.max_steps=3", folder=tmp_path / "whole")
    short = run(*settings, "trainer.max_steps=2", folder=tmp_path / "run")
    assert whole.status == short.status == 0
    longer = run(*settings, "trainer.max_steps=3", folder=tmp_path / "run")
    assert longer.status == 0, longer.output
    assert "resuming from global_step_2 to the new end" in " ".join(longer.output.split())
    assert longer.summary["steps"] == 3 and not (tmp_path / "run_2").exists()
    assert_same(outcome(whole.folder, 3), outcome(longer.folder, 3))
    decays = run(
        *settings, "trainer.max_steps=4", "worker.actor.optim.lr_scheduler_type=cosine", folder=tmp_path / "run"
    )
    assert "run_2" in decays.output  # another config


@pytest.mark.slow
def test_a_run_folder_that_disappears_ends_the_run(run, monkeypatch, tmp_path) -> None:
    original = local_trainer.Trainer._train_step

    def vanishing(self) -> None:
        if self.step == 1:
            shutil.rmtree(self.run.path)
        original(self)

    monkeypatch.setattr(local_trainer.Trainer, "_train_step", vanishing)
    for settings in ((), ("trainer.rollout_save_freq=0",)):
        done = run(*settings, "trainer.max_steps=3", folder=tmp_path / "run")
        assert done.status == 2
        assert "run is gone" in done.output or "metrics.jsonl is gone" in done.output, done.output
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_removed_metrics_are_reported(run, tmp_path) -> None:
    settings = ("trainer.save_freq=1",)
    first = run(*settings, "trainer.max_steps=2")
    for name in ("metrics.jsonl", "summary.json"):
        (first.folder / name).unlink()
    shutil.rmtree(first.folder / "global_step_2")
    again = run(*settings, "trainer.max_steps=2")
    assert again.status == 0, again.output
    assert "metrics.jsonl is missing" in " ".join(again.output.split())
    assert [row["step"] for row in again.metrics] == [2]


@pytest.mark.slow
def test_a_validation_alone_does_not_mention_training(run, problems, tmp_path) -> None:
    first = run("trainer.max_steps=1", folder=tmp_path / "first")
    done = run(
        f"data.val_files={problems}",
        "trainer.val_only=true",
        "trainer.val_before_train=true",
        f"trainer.load_checkpoint_path={first.folder}/global_step_1",
    )
    assert done.status == 0, done.output
    assert "step 1  validation accuracy" in done.output and "24 validation problems" in done.output
    assert "/0" not in done.output and "training problems" not in done.output and "0 steps" not in done.output
