"""A run of the local engine: opens the run folder, builds the context, trains, and reports the outcome."""

from __future__ import annotations

import logging
from pathlib import Path

from transformers.utils import logging as transformers_logging

from echorl_vl.config import Config, config_to_dict
from echorl_vl.engines.local.allocator import keep_freed_memory
from echorl_vl.engines.local.checkpoint import (
    checkpoint_fault,
    checkpoint_step,
    has_training_state,
    recover_last_checkpoint,
)
from echorl_vl.engines.local.context import TrainingContext, build_context
from echorl_vl.engines.local.state import starting_model
from echorl_vl.engines.local.trainer import Trainer
from echorl_vl.errors import INTERRUPTED, UserError
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.summary import finish_run
from echorl_vl.outputs.tracker import Tracker, check_loggers, lost_rows

logger = logging.getLogger(__name__)


def run(config: Config) -> int:
    """Trains.

    Returns:
        The exit status: 0, or 130 if the user stopped the run.

    Raises:
        UserError: the user has to change the configuration, the data, the model or the disk.
    """
    check_loggers(config.trainer.logger)
    keep_freed_memory()
    transformers_logging.disable_progress_bar()  # progress bars would garble the live display
    trainer = config.trainer
    with RunFolder.open_for(config, recover_last_checkpoint, has_training_state) as folder:
        for note in folder.notes:
            logger.info(note)
        if folder.trained:
            with Display(folder.resume_step, folder.resume_step) as display:
                finish_run(folder, display)
                return 0
        checkpoint = folder.checkpoint or _given_checkpoint(config)
        if trainer.val_only and checkpoint is None:
            path = config.worker.actor.model.model_path
            logger.info("validating %s; for a checkpoint, set trainer.load_checkpoint_path=.../global_step_N", path)
        context = build_context(starting_model(config, checkpoint), logger.info)
        try:
            return _train(config, context, folder, checkpoint)
        finally:
            context.rewards.close()


def _train(config: Config, context: TrainingContext, folder: RunFolder, checkpoint: Path | None) -> int:
    trainer = config.trainer
    for note in folder.write_environment(str(context.policy.device), config.data.seed):
        logger.warning(note)
    if lost := lost_rows(folder):
        logger.warning(lost)
    with (
        Tracker(
            folder, trainer.logger, trainer.project_name, trainer.experiment_name, config_to_dict(config)
        ) as tracker,
        Display(context.total_steps, checkpoint_step(checkpoint) if checkpoint else 0, echo=config.echo) as display,
    ):
        try:
            done = Trainer(config, context, folder, tracker, display).run_all(checkpoint)
        except KeyboardInterrupt:
            done = False
        if not done:
            saved = list(folder.path.glob("global_step_*"))
            way = "resumes from the newest checkpoint" if saved else "starts again: nothing was saved yet"
            logger.info("stopped; the same command %s (%s)", way, folder.path)
            return INTERRUPTED
        finish_run(folder, display)
        return 0


def _given_checkpoint(config: Config) -> Path | None:
    """The checkpoint of `trainer.load_checkpoint_path`; None if it is not set.

    Raises:
        UserError: it is not a checkpoint, or it is damaged.
    """
    if not config.trainer.load_checkpoint_path:
        return None
    checkpoint = Path(config.trainer.load_checkpoint_path)
    checkpoint_step(checkpoint)
    if fault := checkpoint_fault(checkpoint):
        raise UserError(f"trainer.load_checkpoint_path = {checkpoint}: {fault}")
    return checkpoint
