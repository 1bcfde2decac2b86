"""EasyR1's tracker file of its newest checkpoint, repaired if a kill has left it damaged or outdated."""

from __future__ import annotations

import json
from pathlib import Path

from echorl_vl.engines.ray.checkpoints import is_whole, newest_whole

LAST = "dataloader.pt"
TRACKER = "checkpoint_tracker.json"  # written once the checkpoint is complete


def newest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint that a run can resume from, or None.

    EasyR1 resumes from the checkpoint that its tracker file names. If the file is unreadable, or names an incomplete
    checkpoint, it is rewritten for the newest complete one.
    """
    path = run / TRACKER
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
