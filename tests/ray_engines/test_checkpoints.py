"""Which checkpoint of a host a run resumes from, also after a kill during a save."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echorl_vl.config import ENGINES

LAST = {"easyr1": "dataloader.pt", "verl": "data.pt"}
BOTH = pytest.mark.parametrize("engine", [ENGINES[name] for name in LAST], ids=list(LAST))


def save(engine, run: Path, step: int, *parts: str, world: int = 2, last: bool = True) -> Path:
    folder = run / f"global_step_{step}"
    (folder / "actor").mkdir(parents=True)
    for part in parts or ("model", "optim", "extra_state"):
        for rank in range(world):
            (folder / "actor" / f"{part}_world_size_{world}_rank_{rank}.pt").touch()
    if last:
        (folder / LAST[engine.name]).touch()
    if engine.name == "easyr1" and last:  # names the newest checkpoint
        (run / "checkpoint_tracker.json").write_text(json.dumps({"last_global_step": step}))
    return folder


@BOTH
def test_newest_complete_checkpoint_is_found(engine, tmp_path):
    assert engine.newest_checkpoint(tmp_path) is None and engine.newest_checkpoint(tmp_path / "nothing") is None
    folders = [save(engine, tmp_path, step) for step in (1, 2, 10)]
    assert engine.newest_checkpoint(tmp_path) == folders[2]
    save(engine, tmp_path, 11, last=False)  # killed during a save
    assert engine.newest_checkpoint(tmp_path) == folders[2]
    (folders[2] / LAST[engine.name]).unlink()
    (folders[1] / "actor" / "optim_world_size_2_rank_1.pt").unlink()
    assert engine.newest_checkpoint(tmp_path) == folders[0]


@BOTH
@pytest.mark.parametrize("parts", [("model",), ("model", "optim")])
def test_incomplete_checkpoint_is_ignored(engine, tmp_path, parts):
    save(engine, tmp_path, 1, *parts)
    assert engine.newest_checkpoint(tmp_path) is None


@BOTH
def test_files_of_another_number_of_ranks_are_ignored(engine, tmp_path):
    folder = save(engine, tmp_path, 1, world=1)
    (folder / "actor" / "model_world_size_4_rank_0.pt").touch()  # of an earlier run into the same folder
    assert engine.newest_checkpoint(tmp_path) == folder


def test_damaged_tracker_file_of_easyr1_is_repaired(tmp_path):
    engine, tracker = ENGINES["easyr1"], tmp_path / "checkpoint_tracker.json"
    one = save(engine, tmp_path, 1)
    save(engine, tmp_path, 2, last=False)
    for damaged in ("{", json.dumps({"last_global_step": 2})):  # killed while it was written, or before
        tracker.write_text(damaged)
        assert engine.newest_checkpoint(tmp_path) == one
        assert json.loads(tracker.read_text())["last_global_step"] == 1
        assert json.loads(tracker.read_text())["last_actor_path"] == str(one / "actor")
