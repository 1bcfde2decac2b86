"""The run folder around a run of a host, with a fake host that needs no Ray."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from ray_runs import REPOSITORY

from echorl_vl.config import Config, load_config
from echorl_vl.engines.ray.run import train_in_folder
from echorl_vl.errors import INTERRUPTED
from echorl_vl.outputs import display, plots
from echorl_vl.outputs.log import set_up_logging
from echorl_vl.start_notes import tied_to_length


def recipe(folder: Path, *overrides: str) -> Config:
    return load_config(REPOSITORY / "configs/geo3k.yaml", [f"trainer.save_checkpoint_path={folder}", *overrides])


def newest(folder: Path) -> Path | None:
    """As for both engines, a checkpoint without optimizer state does not count."""
    return max((path.parent for path in folder.glob("global_step_*/optim.pt")), default=None)


class Host:
    """A fake host that records its starts. Trains to `trainer.max_steps`, or stops after one step."""

    def __init__(self, stops: bool = False) -> None:
        self.stops, self.began = stops, []

    def __call__(self, config: Config, folder) -> bool:
        self.began.append(folder.resume_step)
        end = folder.resume_step + 1 if self.stops else config.trainer.max_steps
        checkpoint = folder.path / f"global_step_{end}"
        checkpoint.mkdir(exist_ok=True)
        (checkpoint / ("model.pt" if config.trainer.save_model_only else "optim.pt")).write_text("x")
        with folder.metrics_file.open("a") as file:
            for step in range(folder.resume_step + 1, end + 1):
                file.write(json.dumps({"step": step, "reward/accuracy": 0.5}) + "\n")
        return not self.stops


def train(config: Config, host: Host) -> tuple[int, str]:
    set_up_logging()
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = train_in_folder(config, lambda folder: host(config, folder), newest)
    return status, output.getvalue()


def test_reported_time_includes_the_training(tmp_path, monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])

    class Slow(Host):
        def __call__(self, config: Config, folder) -> bool:
            now[0] += 125
            return super().__call__(config, folder)

    _, output = train(recipe(tmp_path / "run", "trainer.max_steps=2"), Slow())
    assert "took 2:05; written:" in output


def test_run_killed_before_its_plots_only_writes_them(tmp_path, monkeypatch) -> None:
    config, host = recipe(tmp_path / "run", "trainer.max_steps=2"), Host()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(plots, "write_plots", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
        train(config, host)
    status, output = train(config, host)
    assert status == 0 and host.began == [0]
    assert "only its summary and plots are left" in output and (tmp_path / "run/plots/learning.png").is_file()
    assert json.loads((tmp_path / "run/summary.json").read_text())["finished"]
    assert not (tmp_path / "run_2").exists()


def test_finished_run_is_extended_to_more_steps(tmp_path) -> None:
    host = Host()
    assert train(recipe(tmp_path / "run", "trainer.max_steps=2"), host)[0] == 0
    status, output = train(recipe(tmp_path / "run", "trainer.max_steps=3"), host)
    assert status == 0 and host.began == [0, 2] and "resuming from global_step_2 to the new end" in output
    cosine = "worker.actor.optim.lr_scheduler_type=cosine"
    train(recipe(tmp_path / "other", "trainer.max_steps=2", cosine), host)
    _, output = train(recipe(tmp_path / "other", "trainer.max_steps=3", cosine), host)
    assert host.began == [0, 2, 0, 0] and "lr_scheduler_type = cosine its steps depend on their total number" in output
    assert (tmp_path / "other_2/summary.json").is_file()


def test_stopped_run_with_save_model_only_starts_again(tmp_path) -> None:
    config, host = recipe(tmp_path / "run", "trainer.max_steps=3", "trainer.save_model_only=true"), Host(stops=True)
    status, output = train(config, host)
    assert status == INTERRUPTED
    assert "trainer.save_model_only: on this engine a stopped run starts again" in output
    assert "starts again, since there is no checkpoint to resume from" in output
    host.stops = False
    status, output = train(config, host)
    assert status == 0 and host.began == [0, 0]
    assert "holds checkpoints that no run can resume from" in output


@pytest.mark.parametrize(
    ("overrides", "tied"),
    [
        ([], None),
        (["worker.actor.optim.lr_warmup_steps=5", "worker.actor.optim.lr_warmup_ratio=0.1"], None),
        (["echo.decay=cosine", "echo.decay_steps=10"], None),
        (["worker.actor.optim.lr_warmup_ratio=0.1"], "worker.actor.optim.lr_warmup_ratio = 0.1"),
        (["worker.actor.optim.lr_scheduler_type=cosine"], "worker.actor.optim.lr_scheduler_type = cosine"),
        (["worker.critic.optim.lr_scheduler_type=cosine"], None),
        (
            [
                "worker.critic.optim.lr_scheduler_type=cosine",
                "algorithm.adv_estimator=gae",
                "worker.critic.global_batch_size=128",
            ],
            "worker.critic.optim.lr_scheduler_type = cosine",
        ),
        (["algorithm.name=uft", "data.demonstration_key=solution"], "algorithm.name = uft (the schedule of its hints)"),
    ],
)
def test_settings_that_depend_on_the_number_of_steps(tmp_path, overrides: list[str], tied: str | None) -> None:
    assert tied_to_length(recipe(tmp_path, *overrides)) == tied
