"""Errors for paths that exist but are not what is expected: folders, devices and pipes."""

from __future__ import annotations

import json
import os

import pytest

from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError


def set_with_image(folder, image: str) -> str:
    path = folder / "set.jsonl"
    path.write_text(json.dumps({"problem": "<image>?", "answer": "1", "images": [image]}) + "\n")
    return str(path)


def refused(spec: str) -> str:
    with pytest.raises(UserError) as error:
        load_problems(spec)
    return str(error.value)


def test_images_that_are_not_files(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name in (str(tmp_path / "folder.png"), "folder.png"):
        message = refused(set_with_image(tmp_path, name))
        assert "row 0, images: " in message and "folder.png is a folder; expected an image file" in message
    assert "/dev/null is not a regular file; expected an image file" in refused(set_with_image(tmp_path, "/dev/null"))
    assert "does not exist" in refused(set_with_image(tmp_path, "gone.png"))


def test_a_device_or_pipe_is_not_a_data_set(tmp_path):
    assert "not a regular file" in refused("/dev/null") and "the folder has no" not in refused("/dev/null")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert f"{tmp_path / 'pipe.jsonl'}: not a regular file" in refused(str(tmp_path / "pipe.jsonl"))


def test_file_urls_of_this_machine_are_paths(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png())
    for scheme in ("file://", "file://localhost"):
        path = set_with_image(tmp_path, f"{scheme}{tmp_path}/a.png")
        (problem,) = load_problems(f"{scheme}{path}")
        assert problem.images == (str(tmp_path / "a.png"),)
