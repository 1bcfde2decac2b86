"""Run folders that are damaged, obstructed or unwritable: the error names them, and nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from run_folders import CONFIG, files, saved_run, start

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic


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


def test_checkpoints_without_a_config_are_named(tmp_path):
    folder = saved_run(tmp_path / "run", 2)
    (folder / "config.yaml").unlink()
    with start(folder) as run:
        assert run.path.name == "run_2" and "holds checkpoints, but no config.yaml" in run.notes[0]


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"resumed": 3}', b"\xff\xfe", b"3"])
def test_a_damaged_environment_is_noted_and_written_anew(tmp_path, content):
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
