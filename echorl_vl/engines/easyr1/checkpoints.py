"""EasyR1's checkpoints in a run folder: which is the newest whole one, also after a kill in the middle of a save."""

from __future__ import annotations

import json
from pathlib import Path

TRACKER = "checkpoint_tracker.json"  # EasyR1's note of the last checkpoint, written after it is whole


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint to go on from; None where there is none.

    EasyR1 notes a checkpoint once it is whole. If a kill has left that note unreadable, or the checkpoint in it is not
    whole, it is written again for the newest whole one.
    """
    path = run / TRACKER
    if not path.is_file():
        return None
    try:
        folder = run / f"global_step_{int(json.loads(path.read_text(encoding='utf-8'))['last_global_step'])}"
    except (ValueError, KeyError, TypeError):
        return _repair(run)
    return folder if is_whole(folder) else _repair(run)


def is_whole(folder: Path) -> bool:
    """Whether a run can go on from a checkpoint: model, optimizer and state of every rank, and the place in the data.

    A checkpoint of the model alone (`trainer.save_model_only`) is not whole.
    """
    actor = folder / "actor"
    worlds = {path.name.split("_")[3] for path in actor.glob("model_world_size_*_rank_0.pt")}
    return (folder / "dataloader.pt").is_file() and any(
        all(
            (actor / f"{part}_world_size_{world}_rank_{rank}.pt").is_file()
            for part in ("model", "optim", "extra_state")
            for rank in range(int(world))
        )
        for world in worlds
    )


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
