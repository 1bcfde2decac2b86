"""The start and the end of a run on Ray: everything is checked, the run folder opened, and said how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from echorl_vl.config import Config
from echorl_vl.engines.ray.adjusted import capped, for_dry_run
from echorl_vl.engines.ray.base import RayEngine
from echorl_vl.errors import INTERRUPTED
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.summary import finish_run
from echorl_vl.outputs.tracker import check_loggers, lost_rows
from echorl_vl.rewards.manager import RewardManager

logger = logging.getLogger(__name__)


def run_on_ray(engine: RayEngine, config: Config) -> int:
    """Trains as `config` says; returns the exit status: 0 when done, 130 when the user stopped it.

    Raises:
        UserError: something about configuration, versions, machine, model, data or disk that the user can mend.
    """
    if config.trainer.device == "cpu":
        engine.start_dry_run()
        config, changes = for_dry_run(config)
        for change in changes:
            logger.info("CPU dry run: %s", change)
    config, changes = capped(config)
    for change in changes:
        logger.info(change)
    check_loggers(config.trainer.logger)
    reward = config.worker.reward
    RewardManager(reward.reward_function, dict(reward.reward_function_kwargs)).close()  # checks both
    engine.preflight(config)
    write_sets = engine.part("datasets").prepare_sets(config, logger.info)

    def launch(folder: RunFolder) -> bool:
        from echorl_vl.engines.ray.driver import run_driver  # imports Ray

        ready = write_sets(folder.path)
        return run_driver(ready, folder.path, engine.part("launch").driver(ready, folder), engine.environment)

    return train_in_folder(config, launch, engine.newest_checkpoint)


def train_in_folder(
    config: Config,
    launch: Callable[[RunFolder], bool],
    find_checkpoint: Callable[[Path], Path | None],
) -> int:
    """Trains with `launch` (False: stopped before the last step) in the run folder that `config` names, unless there
    all steps are done; says how it ended and returns the exit status."""
    device = "cpu" if config.trainer.device == "cpu" else "cuda"
    with RunFolder.open_for(config, find_checkpoint) as folder:
        for note in folder.notes:
            logger.info(note)
        if not folder.trained:
            if config.trainer.save_model_only:
                logger.info("trainer.save_model_only: on this engine a run that is stopped starts again from step 0")
            for warning in (*folder.write_environment(device, config.data.seed), lost_rows(folder)):
                if warning:
                    logger.warning(warning)
        with Display(folder.resume_step, plain=True) as display:  # its clock runs from here
            if folder.trained or launch(folder):
                finish_run(folder, display)
                return 0
            found = find_checkpoint(folder.path)
            again = "starts again: nothing was saved yet that it could go on from"
            way = f"goes on from {found.name}" if found else again
            logger.info("stopped; the same command %s (%s)", way, folder.path)
            return INTERRUPTED
