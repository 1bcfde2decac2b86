"""EasyR1's trainer on the driver, which mines clips before the update and writes the local engine's files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor
from transformers import AutoConfig
from verl.protocol import DataProto
from verl.trainer import ray_trainer
from verl.trainer.ray_trainer import RayPPOTrainer

from echorl_vl.core import echo_coef, make_splitter, rejected_rows
from echorl_vl.core import metric_names as names
from echorl_vl.core.groups import all_in_group
from echorl_vl.engines.easyr1.actor import AUX_ONLY, CLIPS, COEF, VERIFIED, WEIGHTS
from echorl_vl.engines.easyr1.advantages import register_advantages
from echorl_vl.engines.easyr1.batches import BatchReader
from echorl_vl.engines.easyr1.datasets import wants_demonstrations
from echorl_vl.engines.easyr1.off_policy_rows import OffPolicyRows
from echorl_vl.engines.easyr1.rewards import RewardRecorder
from echorl_vl.engines.easyr1.settings import AUX_ONLY_FILTER, LOST, EchoPPOConfig
from echorl_vl.engines.ray.batches import QUESTION, UID
from echorl_vl.engines.ray.recorder import RunRecorder, lost_answer_metrics
from echorl_vl.engines.train_batch import batch_metrics, mine_clips
from echorl_vl.types import TrainBatch

_EASYR1_HAS = ("reward/", "response_length/", "prompt_length/")  # prefixes of metrics that EasyR1 logs itself

Call = Callable[[DataProto], DataProto]  # a method of the workers
Around = Callable[[Call, DataProto], DataProto]  # calls the method itself


class EchoTrainer(RayPPOTrainer):
    """RayPPOTrainer whose updates have an echo term. `stopped`: the stop file ended the run before its last step."""

    def __init__(
        self,
        *,
        config: EchoPPOConfig,
        tokenizer: Any,
        train_dataloader: Any,
        reward_fn: Any,
        val_reward_fn: Any,
        **rest: Any,
    ) -> None:
        register_advantages(config.ours)
        self.off_policy_rows = None
        if wants_demonstrations(config.ours):
            self.off_policy_rows = OffPolicyRows(config.worker.rollout.n, tokenizer.pad_token_id)
            train_dataloader = self.off_policy_rows.watch(train_dataloader)
        super().__init__(
            config=config,
            tokenizer=tokenizer,
            train_dataloader=train_dataloader,
            reward_fn=RewardRecorder(reward_fn),
            val_reward_fn=RewardRecorder(val_reward_fn),
            **rest,
        )
        self.ours = config.ours
        frequency, bad_steps = self.ours.trainer.rollout_save_freq, self.ours.trainer.max_bad_steps
        self.recorder = RunRecorder(config.run_path, config.resume_step, frequency, bad_steps)
        model = config.worker.actor.model
        model_config = AutoConfig.from_pretrained(model.model_path, trust_remote_code=model.trust_remote_code)
        self.reader = BatchReader(tokenizer, model_config)
        echo = self.ours.echo
        self.splitter = make_splitter(echo.splitter, tokenizer, **echo.splitter_kwargs)
        self.bad_steps = 0
        self.stopped = False

    def init_workers(self) -> None:
        super().init_workers()
        around: dict[str, Around] = {"update_actor": self._update_actor}
        if self.off_policy_rows is not None:
            around["generate_sequences"] = self.off_policy_rows.generate
            around["compute_ref_log_probs"] = self.off_policy_rows.reference
        self.actor_rollout_ref_wg = _ActorGroup(self.actor_rollout_ref_wg, around)

    def fit(self) -> None:
        hidden = [name for part in (AUX_ONLY_FILTER, LOST) for name in (f"reward/{part}", f"val/{part}_reward")]
        with self.recorder.tracking(ray_trainer, "Tracker", hidden, after=self._stop_if_asked):
            super().fit()

    def _make_batch_data(self, metrics: dict[str, Any]) -> DataProto:
        self.reward_fn.forget()  # scores of a step without an update of the actor (critic warm-up)
        has_echo_term = echo_coef(self.ours.echo, self.global_step - 1) > 0
        self.reward_fn.keep_success = self.ours.algorithm.keeps_all_success(has_echo_term)
        return super()._make_batch_data(metrics)

    def _update_actor(self, host_update: Call, batch: DataProto) -> DataProto:
        """Mine clips, then run EasyR1's update; returns its output with our metrics."""
        started = time.perf_counter()
        step, echo = self.global_step, self.ours.echo
        rounds, kinds = self.reward_fn.asked, self.reward_fn.kinds()
        train_batch = self._train_batch(batch)
        coef = echo_coef(echo, step - 1)
        if coef:
            train_batch = mine_clips(train_batch, echo, self.splitter, step)
            batch.batch[WEIGHTS] = train_batch.clips.token_weights
            batch.batch[CLIPS] = train_batch.clips.per_row
            batch.meta_info[COEF] = coef
        if self.off_policy_rows is not None:
            batch.batch[VERIFIED] = train_batch.verified
        if self.ours.algorithm.keeps_all_success(coef > 0):
            self._leave_to_echo_term(batch, train_batch)
        estimator = self.ours.algorithm.adv_estimator
        rejected = rejected_rows(train_batch.rewards, train_batch.rollouts.group_ids, estimator)
        if rejected.any():
            _zero_advantages(batch, train_batch, rejected)
        mined = time.perf_counter() - started
        output = host_update(batch)
        metrics = batch_metrics(train_batch, echo) | {names.ECHO_COEF: coef, "timing_s/echo": mined}
        theirs = _EASYR1_HAS if self.off_policy_rows is None else _EASYR1_HAS[1:]  # EasyR1's would count demonstrations
        metrics = {name: value for name, value in metrics.items() if not name.startswith(theirs)}
        mask = train_batch.rollouts.response_mask & train_batch.rollouts.is_on_policy[:, None]
        if self.ours.algorithm.online_filtering:
            metrics["sampling/rounds"] = float(rounds)
        metrics[names.ENTROPY] = train_batch.rollouts.entropy[mask].mean().item()
        metrics |= self._update_metrics(output) | lost_answer_metrics(kinds, f"step {step}")
        output.non_tensor_batch |= {name: np.array([value]) for name, value in metrics.items()}
        self.recorder.write_step(step, train_batch, self.reader.decode)
        return output

    def _train_batch(self, batch: DataProto) -> TrainBatch:
        rollouts = self.reader.read(batch)
        rollouts.scores = self.reward_fn.scores(batch)
        return TrainBatch.from_rollouts(rollouts, batch.batch["advantages"], self.ours.echo)

    def _leave_to_echo_term(self, batch: DataProto, train_batch: TrainBatch) -> None:
        """Take groups that were kept for the echo term out of all other terms and their denominators."""
        if self.ours.algorithm.filter_high > 1:
            return  # EasyR1 would keep them anyway: it drops groups whose mean equals the bound
        rollouts = train_batch.rollouts
        kept = all_in_group(train_batch.accuracies >= self.ours.echo.verify_threshold, rollouts.group_ids)
        if kept.any():
            batch.batch[AUX_ONLY] = rollouts.aux_only = kept
            _zero_advantages(batch, train_batch, kept)

    def _update_metrics(self, output: DataProto) -> dict[str, float]:
        """Metrics from gradient norms: skipped steps, and the echo term's share with `echo.log_grad_share`.

        Raises UserError after `trainer.max_bad_steps` optimizer steps in a row that were not finite.
        """
        ranks = self.actor_rollout_ref_wg.world_size
        whole = output.non_tensor_batch[names.GRAD_NORM].astype(float)
        norms = whole[: len(whole) // ranks].tolist()  # of one rank, since all have the norm of the whole gradient
        for norm in norms:
            self.bad_steps = 0 if math.isfinite(norm) else self.bad_steps + 1
        self.recorder.check_bad_steps(self.bad_steps)
        metrics = {"actor/skipped_steps": float(sum(not math.isfinite(norm) for norm in norms))}
        if "echo/grad_norm" in output.non_tensor_batch:
            echo_norm = output.non_tensor_batch["echo/grad_norm"].astype(float).mean()
            metrics[names.ECHO_GRAD_SHARE] = echo_norm / max(float(np.mean(norms)), 1e-12)
        return metrics

    def _validate(self) -> dict[str, Any]:
        metrics = super()._validate()
        n = self.config.worker.rollout.val_override_config.get("n", 1)
        answers = self.val_reward_fn.take()
        kept = ["ground_truth", UID, QUESTION]  # shapes of other columns can differ between batches
        batch = DataProto.concat([batch.select(non_tensor_batch_keys=kept) for _, batch in answers])
        batch.non_tensor_batch["uid"] = np.array([f"validation:{row // n}" for row in range(len(batch))], dtype=object)
        rollouts = self.reader.read(batch)
        rollouts.scores = [score for scores, _ in answers for score in scores]
        return metrics | self.recorder.write_validation(self.global_step, rollouts, n, self.reader.decode)

    def _stop_if_asked(self) -> None:
        """End EasyR1's loop after this step, with a checkpoint and without a validation."""
        if self.recorder.stop_asked():
            self.stopped = self.global_step < self.training_steps
            self.training_steps, self.val_reward_fn = self.global_step, None


class _ActorGroup:
    """The actor's worker group with some methods wrapped: `around` maps their names to our wrappers."""

    def __init__(self, group: Any, around: dict[str, Around]) -> None:
        self._group, self._around = group, around

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._group, name)
        return partial(self._around[name], own) if name in self._around else own


def _zero_advantages(batch: DataProto, train_batch: TrainBatch, rows: Tensor) -> None:
    """Set the advantages of `rows`, a (B,) mask, to 0."""
    batch.batch["advantages"] = train_batch.advantages = batch.batch["advantages"].masked_fill(rows[:, None], 0.0)
