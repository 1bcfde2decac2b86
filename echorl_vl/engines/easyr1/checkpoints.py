"""EasyR1's checkpoints in a run folder: which is the newest whole one, also after a kill in the middle of a save."""

from __future__ import annotations

import json
from pathlib import Path

TRACKER = "checkpoint_tracker.json"  # EasyR1's note of the last checkpoint, written after it is whole


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint that EasyR1 will go on from; None where there is none.

    If a kill has left EasyR1's note unreadable, it is written again for the newest whole checkpoint.
    """
    path = run / TRACKER
    if not path.is_file():
        return None
    try:
        folder = run / f"global_step_{int(json.loads(path.read_text(encoding='utf-8'))['last_global_step'])}"
        return folder if is_whole(folder) else None
    except (ValueError, KeyError, TypeError):
        return _repair(run)


def is_whole(folder: Path) -> bool:
    """Whether every file of a checkpoint is there; `dataloader.pt` is the last that EasyR1 writes."""
    return (folder / "dataloader.pt").is_file() and any((folder / "actor").glob("model_world_size_*_rank_0.pt"))


def _repair(run: Path) -> Path | None:
    steps = sorted((int(path.name.rpartition("_")[2]), path) for path in run.glob("global_step_*") if is_whole(path))
    if not steps:
        return None
    step, folder = steps[-1]
    note = {
        "best_global_step": None,
        "best_val_reward_score": -1.0,
        "last_global_step": step,
        "last_actor_path": str((folder / "actor").absolute()),
    }
    (run / TRACKER).write_text(json.dumps(note, indent=2), encoding="utf-8")
    return folder
