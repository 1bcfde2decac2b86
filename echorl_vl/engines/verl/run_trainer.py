"""The trainer of `python -m echorl_vl.train ... engine=verl`, which writes the local engine's files."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig
from torch import Tensor
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import trainer_base
from verl.trainer.ppo.v1.trainer_base import register_trainer

from echorl_vl.core import echo_coef
from echorl_vl.core.groups import all_in_group
from echorl_vl.engines.ray.recorder import RunRecorder
from echorl_vl.engines.verl.batches import ReadBatch
from echorl_vl.engines.verl.sampling import EchoReplayBuffer
from echorl_vl.engines.verl.settings import LAST_OF_A_CHECKPOINT
from echorl_vl.engines.verl.trainer import EchoTrainer
from echorl_vl.types import TrainBatch, concatenate

RUN_MODE = "echo_run"
"""The trainer's name in verl's registry, a value of `trainer.v1.trainer_mode`."""


@register_trainer(RUN_MODE)
class RunTrainer(EchoTrainer):
    """EchoTrainer that writes into a run folder. Its settings are in `config.echorl` (`settings.extra_sections`).

    Attributes:
        stopped: the stop file ended the run before its last step.
    """

    problem_fields = ("extra_info",)

    def __init__(self, config: DictConfig) -> None:
        self.settings = own = config.echorl
        self.recorder = RunRecorder(own.run_path, own.resume_step, own.rollout_save_freq, own.max_bad_steps)
        self.stopped = False
        self._validated: list[ReadBatch] = []
        super().__init__(config)

    def fit(self, agent_loop_manager: Any) -> None:
        with self.recorder.tracking(trainer_base, "Tracking"):
            super().fit(agent_loop_manager)

    def on_step_end(self) -> None:
        super().on_step_end()
        if not self.recorder.stop_asked():
            return
        self.stopped = self.global_steps < self.total_training_steps
        self.total_training_steps = self.global_steps  # verl's loop ends with this step
        folder = self.recorder.run.path / f"global_step_{self.global_steps}"
        if self.stopped and not (folder / LAST_OF_A_CHECKPOINT).exists():
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
        self.recorder.write_step(self.global_steps, self.train_batch, self.reader.decode)
        return batch

    def _aux_only(self, train_batch: TrainBatch, is_ours: bool) -> Tensor:
        """Also groups kept for the echo term, whose advantages from the format are dropped too."""
        if not self._keeps_all_success():
            return super()._aux_only(train_batch, is_ours)
        verified = train_batch.accuracies >= self.echo.verify_threshold
        kept = all_in_group(verified, train_batch.rollouts.group_ids)
        return super()._aux_only(train_batch, True) | kept

    def _keeps(self, accuracies: list[float]) -> bool:
        """Whether to keep a group: all its answers are correct, and this step keeps such groups."""
        return self._keeps_all_success() and min(accuracies) >= self.echo.verify_threshold

    def _keeps_all_success(self) -> bool:
        has_echo_term = echo_coef(self.echo, self.global_steps - 1) > 0
        return self.settings.keeps_all_success[int(has_echo_term)]

    def _watch(self, bad_in_row: int) -> None:
        self.recorder.check_bad_steps(bad_in_row)

    def _validate(self) -> dict[str, float]:
        self._validated.clear()
        metrics = super()._validate()
        rollouts = concatenate([read.rollouts for read in self._validated], self.tokenizer.pad_token_id or 0)
        scores = rollouts.scores
        parts = sorted(set.intersection(*map(set, scores)))
        means = {f"val/{part}_reward": sum(score[part] for score in scores) / len(scores) for part in parts}
        means["val/reward_score"] = means.pop("val/overall_reward")
        n, decode = self.settings.val_n, self.reader.decode
        return metrics | means | self.recorder.write_validation(self.global_steps, rollouts, n, decode)
