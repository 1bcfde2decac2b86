"""Paths that exist but hold nothing that is read are called what they are."""

from __future__ import annotations

import json
import os

import pytest

from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError


def with_picture(folder, picture: str) -> str:
    path = folder / "set.jsonl"
    path.write_text(json.dumps({"problem": "<image>?", "answer": "1", "images": [picture]}) + "\n")
    return str(path)


def refused(spec: str) -> str:
    with pytest.raises(UserError) as error:
        load_problems(spec)
    return str(error.value)


def test_pictures_that_are_no_files(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name in (str(tmp_path / "folder.png"), "folder.png"):
        message = refused(with_picture(tmp_path, name))
        assert "row 0, images: " in message and "folder.png is a folder; expected a picture file" in message
    assert "/dev/null is no regular file; expected a picture file" in refused(with_picture(tmp_path, "/dev/null"))
    assert "does not exist" in refused(with_picture(tmp_path, "gone.png"))


def test_a_device_or_pipe_is_no_set(tmp_path):
    assert "no regular file" in refused("/dev/null") and "folder has no" not in refused("/dev/null")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert f"{tmp_path / 'pipe.jsonl'}: is no regular file" in refused(str(tmp_path / "pipe.jsonl"))


def test_file_urls_of_this_machine(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png())
    for scheme in ("file://", "file://localhost"):
        path = with_picture(tmp_path, f"{scheme}{tmp_path}/a.png")
        (problem,) = load_problems(f"{scheme}{path}")
        assert problem.images == (str(tmp_path / "a.png"),)
