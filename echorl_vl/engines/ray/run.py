"""Start and end of a run on Ray: check everything, open the run folder, train, and report how the run ended."""

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
    """Train `config`; returns the exit status: 0 when done, 130 when the user stopped the run.

    Raises:
        UserError: the user has to fix the configuration, versions, machine, model, data or disk.
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
    RewardManager(reward.reward_function, dict(reward.reward_function_kwargs)).close()  # checks function and kwargs
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
    """Train in the run folder of `config`, unless all its steps are done; returns the exit status.

    Args:
        config: the configuration.
        launch: trains in an opened run folder; returns False if the run was stopped before the last step.
        find_checkpoint: from a run folder to the checkpoint that a run can resume from, or None.
    """
    device = "cpu" if config.trainer.device == "cpu" else "cuda"
    with RunFolder.open_for(config, find_checkpoint) as folder:
        for note in folder.notes:
            logger.info(note)
        if not folder.trained:
            if config.trainer.save_model_only:
                logger.info("trainer.save_model_only: on this engine a stopped run starts again from step 0")
            for warning in (*folder.write_environment(device, config.data.seed), lost_rows(folder)):
                if warning:
                    logger.warning(warning)
        with Display(folder.resume_step, plain=True) as display:  # starts its clock
            if folder.trained or launch(folder):
                finish_run(folder, display)
                return 0
            found = find_checkpoint(folder.path)
            again = "starts again, since there is no checkpoint to resume from"
            outcome = f"resumes from {found.name}" if found else again
            logger.info("stopped; the same command %s (%s)", outcome, folder.path)
            return INTERRUPTED
