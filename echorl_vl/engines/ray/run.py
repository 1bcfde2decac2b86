"""What is the same around a training that a host framework runs on Ray: the run folder, and what is said of its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from echorl_vl.config import Config, tied_to_length, to_yaml
from echorl_vl.errors import INTERRUPTED, UserError
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.summary import finish_run
from echorl_vl.outputs.tracker import lost_rows

FindCheckpoint = Callable[[Path], Path | None]

STOP_FILE = "stop"
"""A file of this name in the run folder ends the run after the step: Ctrl-C makes it, and so may you."""


@contextmanager
def open_run(config: Config, find_checkpoint: FindCheckpoint, console: Console) -> Iterator[RunFolder]:
    """The run folder that `config` names, with its notes printed."""
    trainer = config.trainer
    path = trainer.save_checkpoint_path or Path("checkpoints") / trainer.project_name / trainer.experiment_name
    with RunFolder.open(
        path,
        to_yaml(config),
        trainer.find_last_checkpoint,
        find_checkpoint=find_checkpoint,
        tied_to_length=tied_to_length(config),
    ) as folder:
        for note in folder.notes:
            console.print(note)
        if trainer.save_model_only and not folder.trained:
            console.print("trainer.save_model_only: on this engine a run that is stopped starts again from step 0")
        yield folder


def train_hosted(
    config: Config,
    folder: RunFolder,
    launch: Callable[[Config, RunFolder], bool],
    find_checkpoint: FindCheckpoint,
    console: Console,
) -> int:
    """Trains with `launch` (False: stopped before the last step); says what came of it and returns the exit status."""
    if not folder.trained:
        notes = folder.write_environment("cpu" if config.trainer.device == "cpu" else "cuda", config.data.seed)
        for note in (*notes, *filter(None, [lost_rows(folder)])):
            console.print(note)
    with Display(total_steps=folder.resume_step, plain=True, console=console) as display:  # its clock runs from here
        if not folder.trained and not launch(config, folder):
            found = find_checkpoint(folder.path)
            way = (
                f"goes on from {found.name}"
                if found
                else "starts again: nothing was saved yet that it could go on from"
            )
            display.note(f"stopped; the same command {way} ({folder.path})")
            return INTERRUPTED
        finish_run(folder, display)
    return 0


def check_bad_steps(in_a_row: int, limit: int, folder: Path) -> None:
    """Raises UserError once `limit` (`trainer.max_bad_steps`) optimizer steps in a row were not finite."""
    if in_a_row >= limit:
        raise UserError(
            f"the last {in_a_row} optimizer steps were not finite and were skipped: lower "
            "worker.actor.optim.lr, or look at the reward and the model. Raise trainer.max_bad_steps "
            f"(now {limit}) to go on longer. Checkpoints up to now are in {folder}."
        )
