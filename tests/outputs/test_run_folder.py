"""Where a run goes, when it goes on, and that nothing is ever overwritten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic
from echorl_vl.outputs.lock import FolderLock
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.same_run import config_differences

CONFIG = "data: {seed: 1}\ntrainer: {max_steps: 10, logger: [console]}\n"


def newest_checkpoint(folder: Path) -> Path | None:
    return max(folder.glob("global_step_*"), key=lambda path: int(path.name[12:]), default=None)


def start(path: Path, config: str = CONFIG, resume: bool = True, **more) -> RunFolder:
    return RunFolder.open(path, config, resume, find_checkpoint=newest_checkpoint, **more)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_new_run(tmp_path):
    with start(tmp_path / "a" / "run") as run:
        assert run.path == tmp_path / "a" / "run"
        assert (run.path / "config.yaml").read_text() == CONFIG
        assert (run.checkpoint, run.resume_step, run.resumed, run.notes) == (None, 0, False, [])
        run.write_environment("cpu", 7)
        environment = json.loads((run.path / "environment.json").read_text())
        assert environment["seed"] == 7
        assert environment["device"] == "cpu"
        assert {"python", "torch", "transformers", "echorl_vl", "git_commit", "platform", "command"} <= set(environment)
        assert run.rollouts_file(12) == run.path / "rollouts" / "step_000012.parquet"
        assert run.validation_file(0) == run.path / "validation" / "step_000000.parquet"


def test_finished_runs_stay_and_the_next_gets_a_number(tmp_path):
    for number in (1, 2, 3):
        with start(tmp_path / "run") as run:
            assert run.path.name == ("run" if number == 1 else f"run_{number}")
            assert bool(run.notes) == (number > 1)
            before = files(tmp_path)
            summary = json.loads(run.finish({"val/accuracy": 0.5}).read_text())
        assert summary["finished"] is True
        assert summary["val/accuracy"] == 0.5
        assert before.items() <= files(tmp_path).items()
    with start(tmp_path / "run") as run:
        assert "finished" in run.notes[-1]
        assert str(run.path) in run.notes[-1]


def test_an_unfinished_run_goes_on(tmp_path):
    with start(tmp_path / "run") as run:
        run.write_environment("cpu", 1)
        first = run.run_id
        (run.path / "global_step_4").mkdir()
        (run.path / "global_step_8").mkdir()
    with start(tmp_path / "run", CONFIG.replace("console", "tensorboard")) as run:  # a harmless difference
        assert run.path.name == "run"
        assert run.resumed
        assert run.checkpoint == run.path / "global_step_8"
        assert run.resume_step == 8
        assert run.run_id == first
        assert "going on from global_step_8" in run.notes[-1]
        assert (run.path / "config.yaml").read_text() == CONFIG
        run.write_environment("cuda", 1)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["device"] == "cpu"
    assert [(e["from_step"], e["device"]) for e in environment["resumed"]] == [(8, "cuda")]


def test_an_unfinished_run_after_a_finished_one_goes_on(tmp_path):
    with start(tmp_path / "run") as run:
        run.finish()
    with start(tmp_path / "run") as run:
        (run.path / "global_step_2").mkdir()
    with start(tmp_path / "run") as run:
        assert run.path.name == "run_2"
        assert run.resume_step == 2


def test_killed_before_the_first_checkpoint_starts_again_in_place(tmp_path):
    start(tmp_path / "run").close()
    with start(tmp_path / "run") as run:
        assert run.path.name == "run"
        assert run.resumed
        assert run.resume_step == 0
    other = CONFIG.replace("seed: 1", "seed: 2")
    with start(tmp_path / "run", other) as run:  # a start that failed left nothing but its config: the folder is free
        assert run.path.name == "run" and (run.path / "config.yaml").read_text() == other
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 1}\n')
    with start(tmp_path / "run", CONFIG) as run:  # steps of another config, but no checkpoint: they stay
        assert run.path.name == "run_2"
        assert "another config" in run.notes[0]


def test_another_config_is_an_error_that_lists_the_keys(tmp_path):
    with start(tmp_path / "run") as run:
        (run.path / "global_step_2").mkdir()
    before = files(tmp_path)
    with pytest.raises(UserError) as caught:
        start(tmp_path / "run", CONFIG.replace("seed: 1", "seed: 2") + "echo: {coef: 0.0}\n")
    text = str(caught.value)
    assert "data.seed: 1 there, 2 now" in text
    assert "echo.coef: absent there, 0.0 now" in text
    assert "trainer.experiment_name" in text
    assert "trainer.find_last_checkpoint=false" in text
    assert files(tmp_path) == before
    start(tmp_path / "run").close()  # the lock was let go


def test_without_resume_an_unfinished_run_stays(tmp_path):
    start(tmp_path / "run").close()
    before = files(tmp_path)
    with start(tmp_path / "run", resume=False) as run:
        assert run.path.name == "run_2"
        assert "unfinished" in run.notes[0]
    assert before.items() <= files(tmp_path).items()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with start(tmp_path / "run") as run:
        assert run.path.name == "run_2"
        assert "other files" in run.notes[0]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "run").mkdir()
    with start(tmp_path / "run") as run:
        assert run.path.name == "run"


HOLD = """
import sys, time
from echorl_vl.outputs.lock import FolderLock
lock = FolderLock(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def test_two_processes_never_write_one_folder(tmp_path):
    start(tmp_path / "run").close()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"another process \(pid {holder.pid}\)"):
            start(tmp_path / "run")
        with start(tmp_path / "run", resume=False) as run:
            assert run.path.name == "run_2"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    (tmp_path / "run_2" / "config.yaml").rename(tmp_path / "elsewhere.yaml")
    (tmp_path / "run_2" / ".lock").unlink()
    (tmp_path / "run_2").rmdir()
    with start(tmp_path / "run") as run:  # kill -9 let the lock go
        assert run.path.name == "run"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_that_outlives_the_run_does_not_keep_the_lock(tmp_path):
    lock = FolderLock(tmp_path)
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(here, b"!")
        time.sleep(30)
        os._exit(0)
    try:
        assert os.read(there, 1) == b"!"
        os.close(lock._descriptor)  # what the system does when the run is killed
        lock._descriptor = None
        FolderLock(tmp_path).release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_path_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="a file with that name is in the way"):
        start(tmp_path / "file")
    with pytest.raises(UserError, match="a part of the path is a file"):
        start(tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that refuses folders")
def test_an_unwritable_place():
    with pytest.raises(UserError, match="can't write /proc/run"):
        start(Path("/proc/run"))


def test_a_full_disk_is_found_at_the_start(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "fsync_file", full)
    with pytest.raises(UserError, match="no space left"):
        start(tmp_path / "run")
    assert files(tmp_path) == {}


def test_config_differences_are_dotted_and_skip_harmless_keys():
    old = "a: {b: 1, c: [1, 2]}\ntrainer: {logger: [x], max_steps: 1}\n"
    new = "a: {b: 2, c: [1, 2]}\ntrainer: {logger: [y], max_steps: 1, save_freq: 5}\nd: null\n"
    assert config_differences(old, new) == [("a.b", 1, 2), ("d", None, None)]
    assert config_differences(old, new, harmless=lambda key: True) == []
    assert config_differences("a: {}\n", "a: {}\n") == []


def saved_run(path: Path, *steps: int, config: str = CONFIG, finished: bool = False) -> Path:
    """A run folder with (empty) checkpoints and a row of metrics a step."""
    with start(path, config) as run:
        run.write_environment("cpu", 1)
        for step in steps:
            (run.path / f"global_step_{step}").mkdir()
        rows = [json.dumps({"step": step}) + "\n" for step in range(1, max(steps, default=0) + 1)]
        run.metrics_file.write_text("".join(rows))
        if finished:
            run.finish()
    return run.path


DAMAGED = {
    "empty": b"",
    "binary": b"\x93NUMPY\x01\x00\xff\xfe",
    "a list": b"- 1\n",
    "cut": b"data: {seed: 1",
    "nul": bytes(64),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_config_is_named_with_a_way_out(tmp_path, content):
    folder = saved_run(tmp_path / "run", 2)
    (folder / "config.yaml").write_bytes(content)
    with pytest.raises(
        UserError, match=r"run/config\.yaml can.t be read as a config .*--print-config > .*config\.yaml"
    ):
        start(folder)
    assert (folder / "config.yaml").read_bytes() == content
    with start(folder, resume=False) as run:
        assert run.path.name == "run_2"
    (folder / "config.yaml").write_text(CONFIG)  # what the message advises
    (tmp_path / "run_2" / "config.yaml").unlink()
    (tmp_path / "run_2" / ".lock").unlink()
    (tmp_path / "run_2").rmdir()
    with start(folder) as run:
        assert run.resume_step == 2


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_config_of_a_run_that_saved_nothing_costs_nothing(tmp_path, content):
    start(tmp_path / "run").close()
    (tmp_path / "run/config.yaml").write_bytes(content)
    with start(tmp_path / "run") as run:
        assert run.path.name == "run" and (run.path / "config.yaml").read_text() == CONFIG


def test_a_finished_run_with_a_damaged_config_stays(tmp_path):
    folder = saved_run(tmp_path / "run", 10, finished=True)
    (folder / "config.yaml").write_bytes(b"")
    with start(folder) as run:
        assert run.path.name == "run_2" and "finished" in run.notes[0]
        assert "config.yaml can't be read as a config (it is empty)" in run.notes[0]


def test_checkpoints_without_a_config_are_said(tmp_path):
    folder = saved_run(tmp_path / "run", 2)
    (folder / "config.yaml").unlink()
    with start(folder) as run:
        assert run.path.name == "run_2" and "holds checkpoints, but no config.yaml" in run.notes[0]


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"resumed": 3}', b"\xff\xfe", b"3"])
def test_a_damaged_environment_is_said_and_written_anew(tmp_path, content):
    folder = saved_run(tmp_path / "run", 2)
    (folder / "environment.json").write_bytes(content)
    with start(folder) as run:
        (note,) = run.write_environment("cpu", 7)
    assert "environment.json was damaged" in note
    assert json.loads((folder / "environment.json").read_text())["seed"] == 7


@pytest.mark.parametrize("content", [b"", b"[1]", b"null", b"\xff\xfe", b'{"finished": tr'])
def test_a_run_with_a_damaged_summary_ends_once_more(tmp_path, content):
    folder = saved_run(tmp_path / "run", 10, finished=True)
    (folder / "summary.json").write_bytes(content)
    with start(folder) as run:
        assert run.path == folder and run.resume_step == 10


@pytest.mark.parametrize("name", ["rollouts", "validation", "plots", "tensorboard"])
def test_a_file_in_a_folders_place_is_named(tmp_path, name):
    folder = saved_run(tmp_path / "run", 2)
    (folder / name).write_text("x")
    with pytest.raises(UserError, match=rf"run/{name} is a file, expected a folder"):
        start(folder)


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "metrics.jsonl", "summary.json"])
def test_a_folder_in_a_files_place_is_named(tmp_path, name):
    folder = saved_run(tmp_path / "run", 2)
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(UserError, match=rf"run/{name} is a folder, expected a file"):
        start(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_read_only_folder_is_named(tmp_path, mode):
    folder = saved_run(tmp_path / "run", 2)
    folder.chmod(mode)
    try:
        with pytest.raises(UserError, match=r"/run: no permission"):
            start(folder)
    finally:
        folder.chmod(0o755)


def test_a_folder_that_is_gone_is_an_error_and_not_made_again(tmp_path):
    with start(tmp_path / "run") as run:
        run.path.rename(tmp_path / "elsewhere")
        for write in (run.check_there, lambda: run.rollouts_file(1), lambda: run.validation_file(1), run.mark_trained):
            with pytest.raises(UserError, match=r"/run is gone .*moved or removed"):
                write()
        assert not run.path.exists()


def test_what_killed_writers_left_is_removed(tmp_path):
    folder = saved_run(tmp_path / "run", 2)
    for part in ("rollouts", "validation", "."):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / ".step_000003.parquet.partial-77").write_text("x")
    start(folder).close()
    assert not list(folder.rglob("*.partial-*"))


def test_threads_and_micro_batches_of_another_size_are_said(tmp_path):
    config = CONFIG + "worker: {actor: {micro_batch_size_per_device_for_update: 8}}\n"
    folder = saved_run(tmp_path / "run", 2, config=config)
    environment = json.loads((folder / "environment.json").read_text())
    assert {"torch_threads", "OMP_NUM_THREADS"} <= environment.keys()
    with start(folder, config) as run:
        assert run.write_environment("cpu", 1) == [] and len(run.notes) == 1
    environment["torch_threads"] = 77
    (folder / "environment.json").write_text(json.dumps(environment))
    with start(folder, config.replace("8}", "4}")) as run:
        assert "micro_batch_size_per_device_for_update was 8, is 4 now: the last digits may differ" in run.notes[-1]
        (note,) = run.write_environment("cpu", 1)
    assert "torch_threads was 77, is" in note and "the last digits may differ" in note
    with start(folder, config) as run:  # compared with the piece before, not with the first
        assert run.write_environment("cpu", 1) == []


LONGER = CONFIG.replace("max_steps: 10", "max_steps: 20")


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_goes_on_to_more_steps(tmp_path, finished):
    folder = saved_run(tmp_path / "run", 5, 10 if finished else 6, finished=finished)
    with start(folder, LONGER) as run:
        assert run.path == folder and run.resumed and not run.trained
        assert run.resume_step == (10 if finished else 6)
        assert "another length" in run.notes[-1]
    assert (folder / "config.yaml").read_text() == LONGER
    assert not (folder / "summary.json").exists()
    with start(folder, LONGER) as run:  # killed at once: it goes on all the same
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
        assert run.path.name == "run_2" and "below the 2 of before" in run.notes[0]
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
            "lr_scheduler_type = cosine ties",
        ),
        (LONGER, {"has_state": lambda checkpoint: False}, "the model alone: trainer.save_model_only"),
        (CONFIG.replace("max_steps: 10", "max_steps: 4"), {}, "trainer.max_steps is 4, and 10 steps are done"),
        (CONFIG.replace("max_steps: 10", "max_steps: null"), {}, "trainer.max_steps is null, expected a number above"),
    ],
)
def test_a_run_that_cannot_go_on_to_another_length_says_why(tmp_path, config, more, why):
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


def test_a_run_whose_steps_are_done_has_only_its_end_left(tmp_path):
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
