"""Files of YAML: those that can't be read, keys that stand twice, merge keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from refused import Write, error_of

from echorl_vl.config import load_config


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["the file is empty", "expected a mapping"]),
        ("# nothing\n", ["the file is empty"]),
        ("- a\n- b\n", ["a list", "expected a mapping"]),
        ("hello\n", ["a single value"]),
        ("data:\n  seed: [1\ntrainer: 2\n", ["line 3", "column", "invalid YAML"]),
        ("data:\n\tseed: 1\n", ["line 2", "invalid YAML"]),
        ("data: {}\n---\ndata: {}\n", ["line 2", "invalid YAML"]),
        ("data:\n  seed: \x01\n", ["line 2", "not allowed in YAML"]),
        ("data:\n  seed: !!python/object/apply:os.getcwd []\n", ["line 2", "invalid YAML"]),
        ("worker: &a\n  actor: *a\n", ["line 1", "contains itself"]),
    ],
)
def test_unreadable_yaml(write: Write, text: str, parts: list[str]) -> None:
    path = write(text)
    message = error_of(path)
    assert message.startswith(str(path))
    for part in parts:
        assert part in message


def test_alias_bomb_is_refused(write: Write) -> None:
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "once its aliases are expanded" in error_of(write("\n".join(levels)))


def test_duplicate_key_names_the_lines(write: Write, minimal: Path) -> None:
    text = minimal.read_text()
    path = write(text + "trainer:\n  seed: 1\n")
    assert f"trainer ({path} line 15): set twice, first in line 13" in error_of(path)
    path = write(text.replace("    n: 4\n", "    n: 4\n    n: 8\n"))
    assert error_of(path) == f"worker.rollout.n ({path} line 11): set twice, first in line 10"


def test_merge_keys_work(write: Write, minimal: Path) -> None:
    text = minimal.read_text().replace(
        "    global_batch_size: 8\n", "    global_batch_size: 8\n    fsdp: &f {fsdp_size: 2}\n"
    )
    text = text.replace("  rollout:", "  ref:\n    fsdp:\n      <<: *f\n      torch_dtype: bf16\n  rollout:")
    config = load_config(write(text))
    assert (config.worker.ref.fsdp.fsdp_size, config.worker.ref.fsdp.torch_dtype) == (2, "bf16")


def test_missing_file_and_folder(minimal: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("x: 1")
    message = error_of(tmp_path / "confg.yaml")
    assert "no such file" in message and "config.yaml" in message and "other.yaml" not in message
    message = error_of(tmp_path)
    assert "this is a folder; expected a YAML file" in message and "config.yaml" in message
    assert "config.yaml, other.yaml" in error_of(tmp_path / "zzz")
    assert "does not exist either" in error_of(tmp_path / "nowhere" / "config.yaml")
    (tmp_path / "empty").mkdir()
    assert "has no YAML file" in error_of(tmp_path / "empty" / "config.yaml")


def test_not_text(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"data: \xff\xfe")
    assert "not UTF-8 text (byte 6)" in error_of(path)
    path.write_bytes(b"#" * 2_000_000)
    assert "expected a YAML file of at most 1,000,000" in error_of(path)
