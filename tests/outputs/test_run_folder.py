"""The folder of a run, when a run is resumed, and that nothing is ever overwritten."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
from run_folders import CONFIG, files, saved_run, start

from echorl_vl.errors import UserError
from echorl_vl.outputs.lock import FolderLock
from echorl_vl.outputs.same_run import config_differences


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


def test_an_unfinished_run_is_resumed(tmp_path):
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
        assert "resuming from global_step_8" in run.notes[-1]
        assert (run.path / "config.yaml").read_text() == CONFIG
        run.write_environment("cuda", 1)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["device"] == "cpu"
    assert [(e["from_step"], e["device"]) for e in environment["resumed"]] == [(8, "cuda")]


def test_an_unfinished_run_after_a_finished_one_is_resumed(tmp_path):
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
    with start(tmp_path / "run", other) as run:  # a failed start left only its config: the folder is free
        assert run.path.name == "run" and (run.path / "config.yaml").read_text() == other
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 1}\n')
    with start(tmp_path / "run", CONFIG) as run:  # steps of another config without a checkpoint stay
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
    assert "trainer.save_checkpoint_path" in text
    assert "trainer.find_last_checkpoint=false" in text
    assert files(tmp_path) == before
    start(tmp_path / "run").close()  # the lock was released


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
    with start(tmp_path / "run") as run:  # kill -9 released the lock
        assert run.path.name == "run"


FORK = """
import os, sys, time
from echorl_vl.outputs.lock import FolderLock
lock = FolderLock(sys.argv[1])
if not os.fork():
    print(os.getpid(), flush=True)  # in the child, which has left the lock by now
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_that_outlives_the_run_does_not_keep_the_lock(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", FORK, tmp_path], stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(UserError, match=rf"pid {holder.pid}\)"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # the worker is still alive
        FolderLock(tmp_path).release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_refused_process_leaves_the_holders_pid_in_the_lock_file(tmp_path):
    lock = FolderLock(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=rf"another process \(pid {os.getpid()}\)"):
            FolderLock(tmp_path)
    lock.release()
    lock.release()
    FolderLock(tmp_path).release()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_file_locks_is_used_unlocked(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    FolderLock(tmp_path).release()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_config_differences_are_dotted_and_skip_harmless_keys():
    old = "a: {b: 1, c: [1, 2]}\ntrainer: {logger: [x], max_steps: 1}\n"
    new = "a: {b: 2, c: [1, 2]}\ntrainer: {logger: [y], max_steps: 1, save_freq: 5}\nd: null\n"
    assert config_differences(old, new) == [("a.b", 1, 2), ("d", None, None)]
    assert config_differences(old, new, harmless=lambda key: True) == []
    assert config_differences("a: {}\n", "a: {}\n") == []


def test_changed_threads_and_micro_batches_are_noted(tmp_path):
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
    with start(folder, config) as run:  # compared with the last start, not with the first
        assert run.write_environment("cpu", 1) == []
