"""Checkpoints are complete or absent, even if a save is killed or fails."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from echorl_vl.engines.local import checkpoint as ckpt
from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic


def writer(value: float):
    def write(folder: Path) -> None:
        model = folder / ckpt.MODEL_FOLDER
        model.mkdir(parents=True)
        (model / "config.json").write_text(json.dumps({"value": value}))
        ckpt.save_training_state(folder / ckpt.STATE_FILE, {"weights": torch.full((64,), value), "step": int(value)})

    return write


def value_of(checkpoint: Path) -> float:
    state = ckpt.load_training_state(checkpoint / ckpt.STATE_FILE)
    assert json.loads((checkpoint / ckpt.MODEL_FOLDER / "config.json").read_text())["value"] == state["weights"][0]
    return state["weights"][0].item()


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_the_layout_the_tracker_file_and_the_limit(tmp_path):
    for step in (5, 10, 15, 20):
        assert ckpt.save_checkpoint(tmp_path, step, writer(step), keep=2) == tmp_path / f"global_step_{step}"
    assert names(tmp_path) == {"global_step_15", "global_step_20", "checkpoint_tracker.json"}
    assert json.loads((tmp_path / "checkpoint_tracker.json").read_text()) == {"last_global_step": 20}
    files = json.loads((tmp_path / "global_step_20" / "manifest.json").read_text())["files"]
    assert set(files) == {"actor/huggingface/config.json", "training_state.pt"}
    assert ckpt.find_last_checkpoint(tmp_path) == tmp_path / "global_step_20"
    assert ckpt.checkpoint_step(tmp_path / "global_step_20") == 20


@pytest.mark.parametrize(("hashes", "hashed"), [("all", 2), ("auto", 1), ("off", 0)])
def test_files_without_a_hash_are_checked_by_their_size(tmp_path, monkeypatch, hashes, hashed):
    monkeypatch.setattr(ckpt, "HASHED_UP_TO", 100)  # the configuration, not the training state
    checkpoint = ckpt.save_checkpoint(tmp_path, 1, writer(1), hashes=hashes)
    files = json.loads((checkpoint / ckpt.MANIFEST).read_text())["files"]
    assert sum("sha256" in entry for entry in files.values()) == hashed
    assert ckpt.checkpoint_fault(checkpoint) is None
    flip_a_byte(checkpoint / ckpt.STATE_FILE)
    assert (ckpt.checkpoint_fault(checkpoint) is None) == (hashes != "all")
    (checkpoint / ckpt.STATE_FILE).write_bytes(b"cut off")
    assert "training_state.pt has 7 bytes" in ckpt.checkpoint_fault(checkpoint)


@pytest.mark.parametrize("keep", [0, -1])
def test_without_a_limit_all_checkpoints_are_kept(tmp_path, keep):
    for step in (1, 2, 3):
        ckpt.save_checkpoint(tmp_path, step, writer(step), keep=keep)
    assert names(tmp_path) >= {"global_step_1", "global_step_2", "global_step_3"}


def test_saving_a_step_again_replaces_its_checkpoint(tmp_path):
    ckpt.save_checkpoint(tmp_path, 5, writer(1))
    ckpt.save_checkpoint(tmp_path, 5, writer(2))
    assert value_of(ckpt.find_last_checkpoint(tmp_path)) == 2
    assert names(tmp_path) == {"global_step_5", "checkpoint_tracker.json"}


def _die_at(operation: int, action) -> bool:
    """Runs `action` in a forked process that kills itself (SIGKILL) at its nth disk operation; True if it did."""
    child = os.fork()
    if child == 0:
        count = 0

        def dying(function):
            def call(*arguments, **kwargs):
                nonlocal count
                count += 1
                if count == operation:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **kwargs)

            return call

        os.replace, Path.unlink = dying(os.replace), dying(Path.unlink)
        atomic.fsync_file = dying(atomic.fsync_file)
        ckpt.shutil.rmtree = dying(ckpt.shutil.rmtree)
        try:
            action()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("replaces", [False, True], ids=["new-step", "same-step-again"])
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_checkpoint(tmp_path, replaces):
    """After a kill the old or the new checkpoint is intact; the next start removes everything else."""
    outcomes = []
    for operation in range(1, 100):
        folder = tmp_path / str(operation)
        ckpt.save_checkpoint(folder, 10 if replaces else 5, writer(1))
        killed = _die_at(operation, partial(ckpt.save_checkpoint, folder, 10, writer(2), keep=1))
        reported = []
        found = ckpt.recover_last_checkpoint(folder, reported.append)
        outcomes.append(value_of(found))
        assert not reported
        assert not [name for name in names(folder) if name.startswith(".")]
        ckpt.save_checkpoint(folder, 15, writer(3), keep=1)  # the run continues
        assert names(folder) == {"global_step_15", "checkpoint_tracker.json"}
        if not killed:
            break
    assert len(outcomes) > 10, "the save did fewer disk operations than expected"
    assert outcomes[0] == 1
    assert outcomes[-1] == 2
    assert outcomes == sorted(outcomes), "the new checkpoint disappeared again"


def test_a_disk_that_fills_up_during_a_save_keeps_the_older_checkpoints(tmp_path):
    ckpt.save_checkpoint(tmp_path, 5, writer(1))

    def full(folder: Path) -> None:
        writer(2)(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = names(tmp_path)
    with pytest.raises(UserError, match="no space left") as caught:
        ckpt.save_checkpoint(tmp_path, 10, full)
    assert "global_step_10" in str(caught.value)
    assert "intact: global_step_5" in str(caught.value)
    assert names(tmp_path) == before
    assert value_of(ckpt.find_last_checkpoint(tmp_path)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_torch_on_a_full_disk_is_a_user_error(tmp_path):
    """torch.save raises a RuntimeError instead of an OSError."""

    def full(folder: Path) -> None:
        os.symlink("/dev/full", folder / "training_state.pt")
        torch.save({"weights": torch.zeros(100_000)}, folder / "training_state.pt")

    with pytest.raises(UserError, match="can't save the checkpoint"):
        ckpt.save_checkpoint(tmp_path, 10, full)
    assert names(tmp_path) == set()


def test_free_space_is_checked_before_anything_is_written(tmp_path, monkeypatch):
    ckpt.save_checkpoint(tmp_path, 5, writer(1))
    monkeypatch.setattr(atomic, "free_bytes", lambda path: 1000)
    called = []
    with pytest.raises(UserError, match=r"needs .* KB, and the disk has 1000 bytes free"):
        ckpt.save_checkpoint(tmp_path, 10, called.append)  # the estimate is the size of global_step_5
    with pytest.raises(UserError, match=r"needs 2\.0 GB"):
        ckpt.save_checkpoint(tmp_path, 10, called.append, expected_bytes=2**31)
    assert not called


def test_other_errors_of_the_writer_are_raised_unchanged(tmp_path):
    def broken(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ckpt.save_checkpoint(tmp_path, 10, broken)
    assert names(tmp_path) == set()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="a part of the path is a file"):
        ckpt.save_checkpoint(tmp_path / "file" / "run", 1, writer(1))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: flip_a_byte(c / "training_state.pt"), r"training_state\.pt has changed"),
        (lambda c: (c / "training_state.pt").write_bytes(b"short"), r"training_state\.pt has 5 bytes"),
        (lambda c: (c / "actor/huggingface/config.json").unlink(), r"config\.json is missing"),
        (lambda c: (c / "manifest.json").unlink(), r"manifest\.json is missing"),
        (lambda c: (c / "manifest.json").write_text("[1]"), r"manifest\.json can't be read"),
    ],
    ids=["flipped-byte", "truncated", "missing-file", "no-manifest", "bad-manifest"],
)
def test_a_damaged_checkpoint_is_reported_and_skipped(tmp_path, damage, words):
    for step in (5, 10):
        ckpt.save_checkpoint(tmp_path, step, writer(step))
    damage(tmp_path / "global_step_10")
    reported = []
    assert ckpt.find_last_checkpoint(tmp_path, reported.append) == tmp_path / "global_step_5"
    assert len(reported) == 1
    assert "global_step_10" in reported[0]
    assert re.search(words, reported[0])
    damage(tmp_path / "global_step_5")
    with pytest.raises(UserError, match="No checkpoint is left") as caught:
        ckpt.find_last_checkpoint(tmp_path, reported.append)
    assert "global_step_10" in str(caught.value)
    assert "global_step_5" in str(caught.value)


def save_model_only(folder: Path, step: int) -> None:
    """Saves like the trainer with trainer.save_model_only, before the last step."""
    ckpt.save_checkpoint(folder, step, writer(step))
    ckpt.drop_older_states(folder, step)


def test_only_the_newest_checkpoint_keeps_its_training_state(tmp_path):
    for step in (5, 10, 15):
        save_model_only(tmp_path, step)
    states = [path.parent.name for path in tmp_path.glob("global_step_*/training_state.pt")]
    assert states == ["global_step_15"]
    assert all(ckpt.checkpoint_fault(path) is None for path in tmp_path.glob("global_step_*"))
    assert ckpt.find_last_checkpoint(tmp_path) == tmp_path / "global_step_15"
    flip_a_byte(tmp_path / "global_step_15" / "training_state.pt")
    with pytest.raises(UserError, match=r"global_step_10 has no training state \(trainer.save_model_only\)"):
        ckpt.find_last_checkpoint(tmp_path, lambda line: None)


def test_the_newest_checkpoint_may_have_no_training_state(tmp_path):
    save_model_only(tmp_path, 5)
    (tmp_path / "global_step_5" / "training_state.pt").stat()

    def model(folder: Path) -> None:
        writer(10)(folder)
        (folder / ckpt.STATE_FILE).unlink()

    ckpt.save_checkpoint(tmp_path, 10, model, model_only=True)
    assert ckpt.find_last_checkpoint(tmp_path) == tmp_path / "global_step_10"
    assert not ckpt.has_training_state(tmp_path / "global_step_10")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_while_older_states_are_dropped_damages_no_checkpoint(tmp_path):
    for operation in range(1, 20):
        folder = tmp_path / str(operation)
        for step in (5, 10):
            ckpt.save_checkpoint(folder, step, writer(step))
        killed = _die_at(operation, partial(ckpt.drop_older_states, folder, 10))
        for step in (5, 10):
            assert ckpt.checkpoint_fault(folder / f"global_step_{step}") is None
        assert ckpt.recover_last_checkpoint(folder) == folder / "global_step_10"
        save_model_only(folder, 15)  # the next save drops the rest
        assert [path.parent.name for path in folder.glob("global_step_*/training_state.pt")] == ["global_step_15"]
        if not killed:
            break
    assert operation > 3


def test_a_checkpoint_without_training_state_needs_less_space(tmp_path, monkeypatch):
    ckpt.save_checkpoint(tmp_path, 5, writer(1))
    state = (tmp_path / "global_step_5" / "training_state.pt").stat().st_size
    whole = sum(path.stat().st_size for path in (tmp_path / "global_step_5").rglob("*") if path.is_file())
    monkeypatch.setattr(atomic, "free_bytes", lambda path: whole - state)
    with pytest.raises(UserError, match="the disk has"):
        ckpt.save_checkpoint(tmp_path, 10, writer(2))
    ckpt.save_checkpoint(tmp_path, 10, writer(2), model_only=True)


def test_a_folder_without_checkpoints_gives_none(tmp_path):
    assert ckpt.find_last_checkpoint(tmp_path) is None
    assert ckpt.recover_last_checkpoint(tmp_path / "not there") is None
    (tmp_path / "global_step_x").mkdir()
    assert ckpt.find_last_checkpoint(tmp_path) is None


def test_a_training_state_is_read_back_unchanged(tmp_path):
    import random

    state = {
        "rng": {"python": random.getstate(), "torch": torch.get_rng_state()},
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(4, 4)}},
            "groups": [{"lr": 1e-6}],
        },
        "note": None,
        "flag": True,
        "bytes": b"\x00\xff",
    }
    ckpt.save_training_state(tmp_path / "s.pt", state)
    loaded = ckpt.load_training_state(tmp_path / "s.pt")
    assert loaded["rng"]["python"] == state["rng"]["python"]
    assert torch.equal(loaded["rng"]["torch"], state["rng"]["torch"])
    assert torch.equal(loaded["optimizer"]["state"][0]["exp_avg"], state["optimizer"]["state"][0]["exp_avg"])
    assert {key: loaded[key] for key in ("note", "flag", "bytes")} == {"note": None, "flag": True, "bytes": b"\x00\xff"}


def test_a_training_state_with_other_types_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\] is a PosixPath"):
        ckpt.save_training_state(tmp_path / "s.pt", {"a": [1, Path("x")]})
    assert not (tmp_path / "s.pt").exists()


class _Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


def test_a_training_state_with_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.pt").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(UserError, match="can't be read as a training state"):
        ckpt.load_training_state(tmp_path / "s.pt")
    assert not (tmp_path / "evil").exists()
    with pytest.raises(UserError, match="no training state"):
        ckpt.load_training_state(tmp_path / "missing.pt")
