"""Resuming a run with more steps than before, and when that is refused."""

from __future__ import annotations

import pytest
from run_folders import CONFIG, files, saved_run, start

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic

LONGER = CONFIG.replace("max_steps: 10", "max_steps: 20")


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_is_resumed_with_more_steps(tmp_path, finished):
    folder = saved_run(tmp_path / "run", 5, 10 if finished else 6, finished=finished)
    with start(folder, LONGER) as run:
        assert run.path == folder and run.resumed and not run.trained
        assert run.resume_step == (10 if finished else 6)
        assert "another length" in run.notes[-1]
    assert (folder / "config.yaml").read_text() == LONGER
    assert not (folder / "summary.json").exists()
    with start(folder, LONGER) as run:  # killed at once: it is resumed all the same
        assert run.path == folder and run.resume_step == (10 if finished else 6)
        run.finish()
    with start(folder, LONGER) as run:
        assert run.path.name == "run_2"


def test_a_kill_while_a_run_is_made_longer(tmp_path, monkeypatch):
    folder = saved_run(tmp_path / "run", 10, finished=True)
    real = atomic.write_text

    def killed(path, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        start(folder, LONGER)
    monkeypatch.setattr(atomic, "write_text", real)
    with start(folder, LONGER) as run:
        assert run.path == folder and run.resume_step == 10


def test_epochs_count_only_without_max_steps(tmp_path):
    epochs = "trainer: {max_steps: null, total_epochs: 2}\n"
    folder = saved_run(tmp_path / "run", 10, config=epochs, finished=True)
    with start(folder, epochs.replace("2", "1")) as run:
        assert run.path.name == "run_2" and "trainer.total_epochs was 2, is 1 now" in run.notes[0]
    with start(tmp_path / "other", epochs.replace("null", "10")) as run:
        (run.path / "global_step_3").mkdir()
    with start(tmp_path / "other", epochs.replace("null", "10").replace("2", "7")) as run:
        assert run.resume_step == 3 and "unfinished" in run.notes[0]
    folder = saved_run(tmp_path / "more", 10, config=epochs, finished=True)
    with start(folder, epochs.replace("2", "3")) as run:
        assert run.path == folder and run.resume_step == 10


@pytest.mark.parametrize(
    ("config", "more", "why"),
    [
        (
            LONGER,
            {"tied_to_length": "worker.actor.optim.lr_scheduler_type = cosine"},
            "lr_scheduler_type = cosine its steps depend",
        ),
        (LONGER, {"has_state": lambda checkpoint: False}, "holds only the model: trainer.save_model_only"),
        (CONFIG.replace("max_steps: 10", "max_steps: 4"), {}, "trainer.max_steps is 4, but 10 steps are done"),
        (
            CONFIG.replace("max_steps: 10", "max_steps: null"),
            {},
            "trainer.max_steps is null, expected more than",
        ),
    ],
)
def test_a_run_that_cannot_have_another_length_says_why(tmp_path, config, more, why):
    folder = saved_run(tmp_path / "run", 10, finished=True)
    before = files(folder)
    with start(folder, config, **more) as run:
        assert run.path.name == "run_2" and why in run.notes[0] and "run_2" in run.notes[0]
    assert files(folder) == before
    unfinished = saved_run(tmp_path / "unfinished", 10)
    with pytest.raises(UserError, match=r"trainer\.max_steps: 10 there") as caught:
        start(unfinished, config, **more)
    assert why in str(caught.value)


def test_a_run_of_another_config_is_not_made_longer(tmp_path):
    saved_run(tmp_path / "run", 10, finished=True)
    with start(tmp_path / "run", LONGER.replace("seed: 1", "seed: 2")) as run:
        assert run.path.name == "run_2" and run.notes[0].endswith(f"holds a finished run; this run goes to {run.path}")


def test_a_run_whose_steps_are_done_trains_no_more(tmp_path):
    folder = saved_run(tmp_path / "run", 10)
    with start(folder) as run:
        assert not run.trained
        run.mark_trained()
    with start(folder) as run:
        assert run.path == folder and run.trained and "only its summary and plots are left" in run.notes[0]
    with start(folder, LONGER) as run:
        assert not run.trained and run.resume_step == 10
    with start(folder, LONGER) as run:
        assert not run.trained
        run.mark_trained()
        run.finish()
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} == {".lock"}
