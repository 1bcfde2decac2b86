"""The fingerprint of a model depends on every byte of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from echorl_vl.evaluation.generation.model_files import fingerprint

SIZE = 40_000_001


def model(folder: Path, weights: bytes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_the_fingerprint_is_the_sha_256_of_names_sizes_and_contents(tmp_path):
    folder = model(tmp_path / "a", bytes(SIZE))
    (folder / "notes.md").write_text("not a model file")
    whole = b"config.json\n2\n{}" + f"model.safetensors\n{SIZE}\n".encode() + bytes(SIZE)
    assert fingerprint(str(folder)) == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("place", [0, SIZE // 2, SIZE - 1])
def test_any_changed_bit_changes_the_fingerprint(tmp_path, place):
    weights = bytearray(SIZE)
    first = fingerprint(str(model(tmp_path / "a", weights)))
    weights[place] ^= 1
    assert fingerprint(str(model(tmp_path / "b", weights))) != first
