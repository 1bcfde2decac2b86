"""The trainer of `python -m echorl_vl.train ... engine=verl`: EchoTrainer with the local engine's files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import trainer_base

from echorl_vl.core import echo_coef
from echorl_vl.core.groups import all_of_group, group_index
from echorl_vl.engines.ray.hooks import patched
from echorl_vl.engines.ray.run import STOP_FILE, check_bad_steps
from echorl_vl.engines.train_batch import write_train_batch
from echorl_vl.engines.validation_metrics import of_all_responses
from echorl_vl.engines.verl.batches import ReadBatch
from echorl_vl.engines.verl.sampling import EchoReplayBuffer
from echorl_vl.engines.verl.trainer import EchoTrainer
from echorl_vl.outputs.rollout_files import write_rollouts
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.tracker import Tracker
from echorl_vl.types import TrainBatch, concatenate


class RunTrainer(EchoTrainer):
    """EchoTrainer that writes into a run folder. `stopped`: the stop file ended the run before its last step.

    Settings are in `config.echorl` (see `settings.beside`).
    """

    def __init__(self, config: DictConfig) -> None:
        self.settings = config.echorl
        self.run = RunFolder.attach(Path(self.settings.run_path), self.settings.resume_step)
        self.stopped = False
        self._validated: list[ReadBatch] = []
        super().__init__(config)

    def fit(self, agent_loop_manager: Any) -> None:
        with (
            Tracker(self.run, ("file",)) as records,
            patched(trainer_base, Tracking=partial(_RecordingTracking, records)),
        ):
            super().fit(agent_loop_manager)

    def on_step_end(self) -> None:
        super().on_step_end()
        if not (self.run.path / STOP_FILE).exists():
            return
        self.stopped = self.global_steps < self.total_training_steps
        self.total_training_steps = self.global_steps  # verl's loop ends with this step
        folder = self.run.path / f"global_step_{self.global_steps}"
        if self.stopped and not (folder / "data.pt").exists():
            self._save_checkpoint()

    def _build_replay_buffer(self) -> Any:
        buffer: EchoReplayBuffer = super()._build_replay_buffer()
        buffer.on_sample = self._on_sample
        buffer.reward, buffer.time_limit = self.settings.reward.function, self.settings.reward.time_limit
        if self.settings.online_filtering and self.settings.max_sampling_rounds > 0:
            buffer.max_groups = self.settings.max_sampling_rounds * self.config.data.train_batch_size
        if any(self.settings.keeps_all_success):
            buffer.keep = self._keeps
        return buffer

    def _on_sample(self, partition_id: str, batch: KVBatchMeta) -> None:
        if partition_id == "val":  # verl clears it before `_validate` returns
            self._validated.append(self.reader.read(batch))

    def _update_actor(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        batch = super()._update_actor(batch, metrics)
        frequency, step, train_batch = self.settings.rollout_save_freq, self.global_steps, self.train_batch
        if frequency > 0 and step % frequency == 0:
            write_train_batch(self.run.rollouts_file(step), step, train_batch, self.reader.decode)
        return batch

    def _silent_rows(self, train_batch: TrainBatch, is_ours: bool) -> torch.Tensor:
        """Also groups that dynamic sampling kept for the echo term: their format earns nothing either."""
        if not self._keeps_all_success():
            return super()._silent_rows(train_batch, is_ours)
        silent = super()._silent_rows(train_batch, True)
        index, groups = group_index(train_batch.rollouts.group_ids)
        return silent | all_of_group(train_batch.accuracies >= self.echo.verify_threshold, index, groups)[index]

    def _keeps(self, accuracies: list[float]) -> bool:
        """Whether a group of equal rewards is kept: if it all succeeds, in a step that keeps such groups."""
        return self._keeps_all_success() and min(accuracies) >= self.echo.verify_threshold

    def _keeps_all_success(self) -> bool:
        has_echo_term = echo_coef(self.echo, self.global_steps - 1) > 0
        return self.settings.keeps_all_success[int(has_echo_term)]

    def _watch(self, bad_in_row: int) -> None:
        check_bad_steps(bad_in_row, self.settings.max_bad_steps, self.run.path)

    def _validate(self) -> dict[str, float]:
        self._validated.clear()
        metrics = super()._validate()
        rollouts = concatenate([read.rollouts for read in self._validated], self.tokenizer.pad_token_id or 0)
        scores = rollouts.scores
        path = self.run.validation_file(self.global_steps)
        write_rollouts(path, self.global_steps, rollouts, scores, decode=self.reader.decode, images=False)
        n = self.settings.val_n
        parts = sorted(set.intersection(*map(set, scores)))
        means = {f"val/{part}_reward": sum(score[part] for score in scores) / len(scores) for part in parts}
        means["val/reward_score"] = means.pop("val/overall_reward")
        return metrics | means | of_all_responses(rollouts, scores, n)


class _RecordingTracking(trainer_base.Tracking):
    """verl's loggers as configured, and our metrics.jsonl."""

    def __init__(self, records: Tracker, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._records = records

    def log(self, data: dict[str, Any], step: int, backend: Any = None) -> None:
        super().log(data, step, backend)
        self._records.log(step, data)
