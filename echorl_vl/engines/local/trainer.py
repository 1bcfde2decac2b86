"""The training loop of the local engine: one process, a CPU or one GPU.

prompts -> graded rollouts (collect) -> advantages -> EchoClips -> update -> metrics
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch

from echorl_vl.config import Config
from echorl_vl.core import echo_coef
from echorl_vl.core.seeds import step_seed
from echorl_vl.engines.interrupt import StopRequest
from echorl_vl.engines.local.advantages import compute_advantages
from echorl_vl.engines.local.checkpoint import (
    checkpoint_step,
    drop_older_states,
    has_training_state,
    save_checkpoint,
)
from echorl_vl.engines.local.context import TrainingContext
from echorl_vl.engines.local.optim import make_optimizer
from echorl_vl.engines.local.reference import KLController, Reference, kl_of_tokens
from echorl_vl.engines.local.state import restore_state, write_state
from echorl_vl.engines.local.strategies import make_collector
from echorl_vl.engines.local.timing import PhaseTimer
from echorl_vl.engines.local.update import Updater
from echorl_vl.engines.local.validation import validate
from echorl_vl.engines.train_batch import batch_metrics, mine_clips, write_train_batch
from echorl_vl.errors import UserError
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.rollout_files import write_rollouts
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.tracker import Tracker
from echorl_vl.types import TrainBatch

logger = logging.getLogger(__name__)


class Trainer:
    """The training loop: `Trainer(config, context, run, tracker, display).run_all()`."""

    def __init__(
        self, config: Config, context: TrainingContext, run: RunFolder, tracker: Tracker, display: Display
    ) -> None:
        self.config, self.context, self.run, self.tracker, self.display = config, context, run, tracker, display
        self.policy = context.policy
        optimizer = make_optimizer(self.policy.model, config.worker.actor.optim)
        self.updater = Updater(self.policy, optimizer, config, max(1, context.total_steps))
        self.kl = KLController(config.algorithm)
        self.reference = None if config.algorithm.disable_kl or not self.kl.coef else Reference(self.policy, config)
        self.collector = make_collector(config, context)
        self.strategy = self.collector.strategy
        self.step = self.saved = 0

    def run_all(self, checkpoint: Path | None = None) -> bool:
        """Trains to the last step.

        Args:
            checkpoint: where to resume; None starts at step 0.

        Returns:
            Whether the run is complete; False if the user stopped it.

        Raises:
            UserError: bad data, a full disk, or too many optimizer steps in a row that are not finite.
        """
        trainer = self.config.trainer
        if checkpoint is not None:
            self.step = self.saved = checkpoint_step(checkpoint)
            nothing_left = self.step >= self.context.total_steps and not has_training_state(checkpoint)
            model_only = trainer.val_only or nothing_left
            progress = restore_state(checkpoint, self.policy, self.updater, self.kl, model_only)
            self.collector.position = progress.get("position", self.step)
            before, now = progress.get("problems"), len(self.context.train or ())
            if before == now:  # the strategy's state may refer to rows of the training set
                self.strategy.load_state(progress)
            elif before is not None and now and not nothing_left:
                logger.warning(
                    "the training set had %s problems and has %s now: from here on, their order differs from that of "
                    "an uninterrupted run",
                    f"{before:,}",
                    f"{now:,}",
                )
        with StopRequest() as stop:
            first = self.run.checkpoint is None  # this run has not validated yet
            if self.context.validation_set and (trainer.val_only or (trainer.val_before_train and first)):
                self._validate()
            if stop.asked:
                return False
            while self.step < self.context.total_steps and not trainer.val_only:
                self._train_step_or_save()
                last = self.step == self.context.total_steps
                if self._due(trainer.val_freq) or (last and self.context.validation_set):
                    self._validate()
                if self._due(trainer.save_freq) or last or stop.asked:
                    self._save(model_only=trainer.save_model_only and last)
                if stop.asked and not last:
                    return False
        return True

    def _train_step_or_save(self) -> None:
        """Runs a training step. If it fails before it changes the policy, the previous step is saved first."""
        done, updater = self.step, self.updater
        before = updater.taken, updater.steps, updater.bad_steps, self.kl.coef
        position, state = self.collector.position, self.strategy.state()
        try:
            self._train_step()
        except UserError:
            if updater.taken == before[0] and done > self.saved:  # the weights are still those of step `done`
                self.step, (_, updater.steps, updater.bad_steps, self.kl.coef) = done, before
                self.collector.position = position
                self.strategy.load_state(state)
                self._save()
                logger.warning("saved step %d before stopping", self.step)
            raise

    def _due(self, frequency: int) -> bool:
        return frequency > 0 and self.step % frequency == 0

    def _train_step(self) -> None:
        config = self.config
        self.step += 1
        timer = PhaseTimer(self.policy.device, self.display.phase)
        torch.manual_seed(step_seed(config.worker.rollout.seed, self.step, "torch"))
        rewards = self.context.rewards
        lost = rewards.timeouts, rewards.crashes, rewards.errors
        coef = echo_coef(config.echo, self.step - 1)
        rollouts = self.collector.collect(self.step, timer, echo=coef > 0)
        ref_log_probs = None
        if self.reference is not None:
            with timer.phase("ref"):
                ref_log_probs = self.reference.log_probs(rollouts, config.worker.rollout.temperature)
        with timer.phase("adv"):
            train_batch = compute_advantages(rollouts, config, self.strategy.algorithm, ref_log_probs, self.kl.coef)
        if coef:
            with timer.phase("echo"):
                train_batch = mine_clips(train_batch, config.echo, self.context.splitter, self.step)
        if self._due(config.trainer.rollout_save_freq):  # before the update, so that a full disk loses no step
            with timer.phase("write"):
                write_train_batch(self.run.rollouts_file(self.step), self.step, train_batch, self._decode)
        with timer.phase("update_actor"):
            metrics = self.updater.update(
                self.strategy.update_batch(train_batch), coef, self.kl.coef, self.strategy.prompt_term
            )
        metrics |= self.strategy.finish_step(train_batch, self.updater, timer)
        metrics |= batch_metrics(train_batch, config.echo) | rollouts.metrics | self._kl_metrics(train_batch)
        metrics |= {"echo/coef": coef, "training/epoch": float(self.context.order.epoch(self.collector.position - 1))}
        metrics |= {
            "reward/timeouts": float(rewards.timeouts - lost[0]),
            "reward/crashes": float(rewards.crashes - lost[1]),
            "reward/errors": float(rewards.errors - lost[2]),
        }
        metrics |= timer.metrics(rollouts)
        self.tracker.log(self.step, metrics)
        self.display.step(self.step, metrics)
        logger.debug("step %d: %s", self.step, timer)

    def _kl_metrics(self, train_batch: TrainBatch) -> dict[str, float]:
        if train_batch.ref_log_probs is None:
            return {}
        algorithm, rollouts = self.config.algorithm, train_batch.rollouts
        on_policy = rollouts.is_on_policy
        if not on_policy.any():
            return {}
        kl = kl_of_tokens(rollouts, train_batch.ref_log_probs, algorithm.kl_penalty)[on_policy].sum(-1)
        of_a_token = (kl / rollouts.response_mask[on_policy].sum(-1)).mean().item()
        metrics = {"critic/kl": kl.mean().item(), "actor/kl_penalty": of_a_token, "actor/kl_coef": self.kl.coef}
        if not algorithm.use_kl_loss:
            self.kl.update(of_a_token, int(on_policy.sum()))
        return metrics

    def _validate(self) -> None:
        self.display.phase("validation")
        started, context = time.perf_counter(), self.context
        found = validate(self.policy, context.encoder, context.validation_set, context.rewards, self.config)
        metrics = found.metrics | {"timing_s/validation": time.perf_counter() - started}
        path, rollouts = self.run.validation_file(self.step), found.rollouts
        write_rollouts(path, self.step, rollouts, rollouts.scores, decode=self._decode, images=False)
        self.tracker.log(self.step, metrics)
        self.display.step(self.step, metrics)

    def _decode(self, pieces: list[list[int]]) -> list[str]:
        return self.policy.tokenizer.batch_decode(pieces, skip_special_tokens=True)

    def _save(self, model_only: bool = False) -> None:
        """Saves a checkpoint. With `trainer.save_model_only` older ones, and the last, have no training state."""
        self.run.check_there()
        self.display.phase("save")
        progress = {"position": self.collector.position, "problems": len(self.context.train)} | self.strategy.state()
        save_checkpoint(
            self.run.path,
            self.step,
            lambda folder: write_state(folder, self.policy, self.updater, self.kl, progress, model_only),
            self.config.trainer.save_limit,
            model_only=model_only,
            hashes=self.config.trainer.checkpoint_hash,
        )
        self.saved = self.step
        logger.debug("saved the checkpoint of step %d", self.step)
        if self.config.trainer.save_model_only:
            drop_older_states(self.run.path, self.step)
