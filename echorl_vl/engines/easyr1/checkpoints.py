"""EasyR1's note of its newest checkpoint, made right again where a kill has left it wrong."""

from __future__ import annotations

import json
from pathlib import Path

from echorl_vl.engines.ray.checkpoints import is_whole, newest_whole

LAST = "dataloader.pt"
NOTE = "checkpoint_tracker.json"  # written after the checkpoint is whole


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint that a run can resume from; None where there is none.

    EasyR1 notes a checkpoint once it is whole, and resumes from the one in its note. If a kill has left that note
    unreadable, or the checkpoint in it is not whole, it is written again for the newest whole one.
    """
    path = run / NOTE
    if not path.is_file():
        return None
    try:
        folder = run / f"global_step_{int(json.loads(path.read_text(encoding='utf-8'))['last_global_step'])}"
        if is_whole(folder, LAST):
            return folder
    except (ValueError, KeyError, TypeError):
        pass
    folder = newest_whole(run, LAST)
    if folder is not None:
        step, actor = int(folder.name.rpartition("_")[2]), str((folder / "actor").absolute())
        best = {"best_global_step": None, "best_val_reward_score": -1.0}
        path.write_text(json.dumps(best | {"last_global_step": step, "last_actor_path": actor}), encoding="utf-8")
    return folder
