"""EasyR1's trainer on the driver, with mining before the update, and the local engine's files and metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import AutoConfig
from verl.protocol import DataProto
from verl.trainer import ray_trainer
from verl.trainer.ray_trainer import RayPPOTrainer

from echorl_vl.core import echo_coef, make_splitter, rejected_rows
from echorl_vl.core import metric_names as names
from echorl_vl.engines.easyr1.actor import COEF, TRAINED, VERIFIED, WEIGHTS
from echorl_vl.engines.easyr1.advantages import register_advantages
from echorl_vl.engines.easyr1.batches import BatchReader
from echorl_vl.engines.easyr1.expert_rows import ExpertRows
from echorl_vl.engines.easyr1.expert_traces import wants_demonstrations
from echorl_vl.engines.easyr1.rewards import RewardRecorder, all_success
from echorl_vl.engines.easyr1.settings import KEEP, LOST, EchoPPOConfig
from echorl_vl.engines.ray.hooks import patched
from echorl_vl.engines.ray.run import STOP_FILE, check_bad_steps
from echorl_vl.engines.train_batch import batch_metrics, mine_clips, write_train_batch
from echorl_vl.engines.validation_metrics import of_all_responses
from echorl_vl.outputs.display import lost_answers
from echorl_vl.outputs.rollout_files import write_rollouts
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.tracker import Tracker
from echorl_vl.types import TrainBatch

_EASYR1_HAS = ("reward/", "response_length/", "prompt_length/")  # metrics of our names that it logs itself

Call = Callable[[DataProto], DataProto]  # a method of the workers
Around = Callable[[Call, DataProto], DataProto]


class EchoTrainer(RayPPOTrainer):
    """RayPPOTrainer whose updates bring EchoClips. `stopped`: the stop file ended the run before its last step."""

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
        self.expert_rows = None
        if wants_demonstrations(config.ours):
            self.expert_rows = ExpertRows(config.worker.rollout.n, tokenizer.pad_token_id)
            train_dataloader = self.expert_rows.watch(train_dataloader)
        super().__init__(
            config=config,
            tokenizer=tokenizer,
            train_dataloader=train_dataloader,
            reward_fn=RewardRecorder(reward_fn),
            val_reward_fn=RewardRecorder(val_reward_fn),
            **rest,
        )
        self.ours = config.ours
        self.run = RunFolder.attach(Path(config.run_path), config.resume_step)
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
        if self.expert_rows is not None:
            around["generate_sequences"] = self.expert_rows.generate
            around["compute_ref_log_probs"] = self.expert_rows.reference
        self.actor_rollout_ref_wg = _ActorGroup(self.actor_rollout_ref_wg, around)

    def fit(self) -> None:
        def tracker(loggers: Any, config: dict[str, Any]) -> _RecordingTracker:
            return _RecordingTracker(loggers, config, records, self._stop_if_asked)

        with Tracker(self.run, ("file",)) as records, patched(ray_trainer, Tracker=tracker):
            super().fit()

    def _make_batch_data(self, metrics: dict[str, Any]) -> DataProto:
        self.reward_fn.forget()  # what a step without an update of the actor has left (critic warm-up)
        has_echo_term = echo_coef(self.ours.echo, self.global_step - 1) > 0
        self.reward_fn.keep_success = self.ours.algorithm.keeps_all_success(has_echo_term)
        return super()._make_batch_data(metrics)

    def _update_actor(self, host_update: Call, batch: DataProto) -> DataProto:
        """Mining, then EasyR1's update; its answer with our metrics in it."""
        started = time.perf_counter()
        step, echo = self.global_step, self.ours.echo
        rounds, lost = self.reward_fn.asked, self.reward_fn.lost()
        train_batch = self._experience(batch)
        coef = echo_coef(echo, step - 1)
        if coef:
            train_batch = mine_clips(train_batch, echo, self.splitter, step)
            batch.batch[WEIGHTS] = train_batch.clips.token_weights
            batch.meta_info[COEF] = coef
        if self.expert_rows is not None:
            batch.batch[VERIFIED] = train_batch.verified
        if self.ours.algorithm.keeps_all_success(coef > 0):
            self._leave_to_echo(batch, train_batch)
        estimator = self.ours.algorithm.adv_estimator
        rejected = rejected_rows(train_batch.rewards, train_batch.rollouts.group_ids, estimator)
        if rejected.any():
            self._silence(batch, train_batch, rejected)
        mined = time.perf_counter() - started
        output = host_update(batch)
        metrics = batch_metrics(train_batch, echo) | {names.ECHO_COEF: coef, "timing_s/echo": mined}
        theirs = _EASYR1_HAS if self.expert_rows is None else _EASYR1_HAS[1:]  # its rewards would count the expert's
        metrics = {name: value for name, value in metrics.items() if not name.startswith(theirs)}
        mask = train_batch.rollouts.response_mask & train_batch.rollouts.is_on_policy[:, None]
        if self.ours.algorithm.online_filtering:
            metrics["sampling/rounds"] = float(rounds)
        metrics[names.ENTROPY] = train_batch.rollouts.entropy[mask].mean().item()
        metrics |= self._update_metrics(output) | lost
        if warning := lost_answers(lost):
            print(f"step {step}: {warning}", flush=True)
        output.non_tensor_batch |= {name: np.array([value]) for name, value in metrics.items()}
        self._write_rollouts(train_batch)
        return output

    def _experience(self, batch: DataProto) -> TrainBatch:
        rollouts = self.reader.rollouts(batch)
        rollouts.scores = self.reward_fn.scores(batch)
        return TrainBatch.from_rollouts(rollouts, batch.batch["advantages"], self.ours.echo)

    def _leave_to_echo(self, batch: DataProto, train_batch: TrainBatch) -> None:
        """Groups that dynamic sampling kept for the echo term are in no other, nor in another's denominator."""
        if self.ours.algorithm.filter_high > 1:
            return  # it would have kept them anyway: EasyR1 drops a mean that equals the bound
        uids, threshold = batch.non_tensor_batch["uid"], self.ours.echo.verify_threshold
        kept = all_success(train_batch.accuracies, uids, threshold)
        if kept.any():
            batch.batch[TRAINED] = ~kept
            self._silence(batch, train_batch, kept)

    def _silence(self, batch: DataProto, train_batch: TrainBatch, rows: Tensor) -> None:
        batch.batch["advantages"] = train_batch.advantages = batch.batch["advantages"].masked_fill(rows[:, None], 0.0)

    def _update_metrics(self, output: DataProto) -> dict[str, float]:
        """What the gradient norms of the optimizer steps say: skipped steps, and on request the echo term's share.

        Raises UserError after `trainer.max_bad_steps` optimizer steps in a row that were not finite.
        """
        ranks = self.actor_rollout_ref_wg.world_size
        whole = output.non_tensor_batch[names.GRAD_NORM].astype(float)
        norms = whole[: len(whole) // ranks].tolist()  # one rank's: every rank has the norm of the whole gradient
        for norm in norms:
            self.bad_steps = 0 if math.isfinite(norm) else self.bad_steps + 1
        check_bad_steps(self.bad_steps, self.ours.trainer.max_bad_steps, self.run.path)
        metrics = {"actor/skipped_steps": float(sum(not math.isfinite(norm) for norm in norms))}
        if "echo/grad_norm" in output.non_tensor_batch:
            echo_norm = output.non_tensor_batch["echo/grad_norm"].astype(float).mean()
            metrics[names.ECHO_GRAD_SHARE] = echo_norm / max(float(np.mean(norms)), 1e-12)
        return metrics

    def _write_rollouts(self, train_batch: TrainBatch) -> None:
        frequency, step = self.ours.trainer.rollout_save_freq, self.global_step
        if frequency <= 0 or step % frequency:
            return
        write_train_batch(self.run.rollouts_file(step), step, train_batch, self.reader.decode)

    def _validate(self) -> dict[str, Any]:
        metrics = super()._validate()
        n = self.config.worker.rollout.val_override_config.get("n", 1)
        answers = self.val_reward_fn.take()
        scores = [score for scores, _ in answers for score in scores]
        kept = ["ground_truth"]  # the other columns of a set can have other shapes in other batches
        batch = DataProto.concat([batch.select(non_tensor_batch_keys=kept) for _, batch in answers])
        batch.non_tensor_batch["uid"] = np.array([f"validation:{row // n}" for row in range(len(batch))], dtype=object)
        rollouts, path = self.reader.rollouts(batch), self.run.validation_file(self.global_step)
        write_rollouts(path, self.global_step, rollouts, scores, decode=self.reader.decode, images=False)
        return metrics | of_all_responses(rollouts, scores, n)

    def _stop_if_asked(self) -> None:
        """Ends EasyR1's loop after this step: it saves a checkpoint, and does not validate first."""
        if (self.run.path / STOP_FILE).exists():
            self.stopped = self.global_step < self.training_steps
            self.training_steps, self.val_reward_fn = self.global_step, None


class _ActorGroup:
    """The actor's worker group, some methods of which (`around`, by name) are ours around its own."""

    def __init__(self, group: Any, around: dict[str, Around]) -> None:
        self._group, self._around = group, around

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._group, name)
        return partial(self._around[name], own) if name in self._around else own


class _RecordingTracker(ray_trainer.Tracker):
    """EasyR1's loggers as configured, and our metrics.jsonl; `after` is called at the end of each step."""

    def __init__(self, loggers: Any, config: dict[str, Any], records: Tracker, after: Callable[[], None]) -> None:
        super().__init__(loggers=loggers, config=config)
        self._records, self._after = records, after

    def log(self, data: dict[str, Any], step: int) -> None:
        for part in (KEEP, LOST):
            data = {name: value for name, value in data.items() if name not in (f"reward/{part}", f"val/{part}_reward")}
        super().log(data=data, step=step)
        self._records.log(step, data)
        self._after()
