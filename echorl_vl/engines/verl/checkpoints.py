"""verl's checkpoints in a run folder: which is the newest whole one, also after a kill in the middle of a save."""

from __future__ import annotations

from pathlib import Path

PARTS = ("model", "optim", "extra_state")


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint to go on from; None where there is none."""
    steps = [(int(path.name.rpartition("_")[2]), path) for path in run.glob("global_step_*") if is_whole(path)]
    return max(steps)[1] if steps else None


def is_whole(folder: Path) -> bool:
    """Whether a run can go on from a checkpoint: model, optimizer and state of every rank, and the place in the data.

    verl writes the place in the data last. A checkpoint of the model alone (`trainer.save_model_only`) is not whole.
    """
    actor = folder / "actor"
    worlds = {path.name.split("_")[3] for path in actor.glob("model_world_size_*_rank_0.pt")}
    return (folder / "data.pt").is_file() and any(
        all(
            (actor / f"{part}_world_size_{world}_rank_{rank}.pt").is_file()
            for part in PARTS
            for rank in range(int(world))
        )
        for world in worlds
    )
