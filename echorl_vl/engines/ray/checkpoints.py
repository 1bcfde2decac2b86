"""Find complete checkpoints of a host in a run folder. A kill during a save leaves an incomplete one."""

from __future__ import annotations

from pathlib import Path

_PARTS = ("model", "optim", "extra_state")


def newest_whole(run: Path, last: str) -> Path | None:
    """The complete checkpoint of the highest step, or None. `last`: see `is_whole`."""
    folders = {int(path.name.rpartition("_")[2]): path for path in run.glob("global_step_*") if is_whole(path, last)}
    return folders[max(folders)] if folders else None


def is_whole(folder: Path, last: str) -> bool:
    """Whether a checkpoint has model, optimizer and state of every rank, and the position in the data.

    A checkpoint of the model alone (`trainer.save_model_only`) is not complete.

    Args:
        folder: `global_step_N` of a run folder.
        last: name of the file that the host writes last, which holds the position in the data.
    """
    actor = folder / "actor"
    worlds = {int(path.name.split("_")[3]) for path in actor.glob("model_world_size_*_rank_0.pt")}
    names = [[f"{part}_world_size_{n}_rank_{rank}.pt" for part in _PARTS for rank in range(n)] for n in worlds]
    return (folder / last).is_file() and any(all((actor / name).is_file() for name in of_one) for of_one in names)
