"""The start and the end of a run on Ray: everything is checked, the run folder opened, and said how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from echorl_vl.config import Config, tied_to_length, to_yaml
from echorl_vl.engines.ray.adjusted import capped, for_dry_run
from echorl_vl.engines.ray.base import RayEngine
from echorl_vl.errors import INTERRUPTED
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.summary import finish_run
from echorl_vl.outputs.tracker import check_loggers, lost_rows
from echorl_vl.rewards.manager import RewardManager

FindCheckpoint = Callable[[Path], Path | None]


def run_on_ray(engine: RayEngine, config: Config) -> int:
    """Trains as `config` says; returns the exit status: 0 when done, 130 when the user stopped it.

    Raises:
        UserError: something about configuration, versions, machine, model, data or disk that the user can mend.
    """
    console = make_console(soft_wrap=True)
    if config.trainer.device == "cpu":
        engine.start_dry_run()
        config, changes = for_dry_run(config)
        for change in changes:
            console.print(f"CPU dry run: {change}")
    config, changes = capped(config)
    for change in changes:
        console.print(change)
    check_loggers(config.trainer.logger)
    reward = config.worker.reward
    RewardManager(reward.reward_function, dict(reward.reward_function_kwargs)).close()  # checks both
    engine.preflight(config)
    write_sets = engine.prepare_sets(config, console.print)
    with open_run(config, engine.newest_checkpoint, console) as folder:
        from echorl_vl.engines.ray.driver import run_driver  # imports Ray

        def launch(ready: Config, folder: RunFolder) -> bool:
            return run_driver(ready, folder.path, engine.driver(ready, folder), engine.environment)

        return train_in_folder(write_sets(folder.path), folder, launch, engine.newest_checkpoint, console)


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


def train_in_folder(
    config: Config,
    folder: RunFolder,
    launch: Callable[[Config, RunFolder], bool],
    find_checkpoint: FindCheckpoint,
    console: Console,
) -> int:
    """Trains with `launch` (False: stopped before the last step); says how it ended and returns the exit status."""
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
