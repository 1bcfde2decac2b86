"""verl's synchronous trainer with mining before the update; also the plug-in of verl's own command line."""

from __future__ import annotations

import time
from typing import Any

import ray
import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf, open_dict
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1 import trainer_base
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from echorl_vl.core import EchoConfig, echo_coef, make_splitter
from echorl_vl.core import metric_names as names
from echorl_vl.core.groups import degenerate_rows
from echorl_vl.engines.ray.hooks import patched
from echorl_vl.engines.train_batch import batch_metrics, mine_clips
from echorl_vl.engines.verl.batches import BatchReader, ReadBatch
from echorl_vl.engines.verl.hooks import HOST
from echorl_vl.engines.verl.loss import CLIPS, COEF, PROMPTS, WEIGHTS
from echorl_vl.engines.verl.plugin import check_plugin, warn_where_the_term_is_missing
from echorl_vl.engines.verl.sampling import EchoReplayBuffer
from echorl_vl.engines.verl.worker import BAD_IN_ROW, SKIPPED, EchoWorker
from echorl_vl.types import TrainBatch

ACTOR_ROLES = (Role.Actor, Role.ActorRollout, Role.ActorRolloutRef)


@register_trainer("echo_sync")  # `trainer.v1.trainer_mode` of the plug-in
class EchoTrainer(PPOTrainerSync):
    """PPOTrainerSync with the echo term of `config.echo` (the keys of EchoConfig).

    With `echo.coef` 0 a step is verl's, bit for bit; the metrics of groups are still logged.
    """

    problem_fields: tuple[str, ...] = ()  # further columns, which name the problem of a row

    def __init__(self, config: DictConfig) -> None:
        HOST.check_hooks()
        check_plugin(config)
        self.echo = EchoConfig(**OmegaConf.to_container(config.get("echo", {}), resolve=True))
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"  # verl chooses its replay buffer and more by it
        self.train_batch: TrainBatch | None = None
        super().__init__(config)

    def _build_replay_buffer(self) -> Any:
        with patched(trainer_base, ReplayBuffer=EchoReplayBuffer):
            buffer = super()._build_replay_buffer()
        if isinstance(buffer, EchoReplayBuffer):  # else the user's own
            rollout = self.config.actor_rollout_ref.rollout
            buffer.expected = {"train": rollout.n, "val": rollout.val_kwargs.n}
        return buffer

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        for role in ACTOR_ROLES:
            if role in self.role_worker_mapping:
                self.role_worker_mapping[role] = ray.remote(EchoWorker)

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        self.reader = BatchReader(self.tokenizer, self.config.data.max_response_length, self.problem_fields)
        self.splitter = make_splitter(self.echo.splitter, self.tokenizer, **self.echo.splitter_kwargs)

    def _update_actor(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        """Mine clips, then run verl's update, and add the metrics of both."""
        started = time.perf_counter()
        coef = echo_coef(self.echo, self.global_steps - 1)
        read = self.reader.read(batch)
        first = read.advantages[:, :1]  # the same for each token of a rollout
        self.train_batch = train_batch = TrainBatch.from_rollouts(read.rollouts, first, self.echo)
        changed: dict[str, torch.Tensor] = {}
        if coef:
            self.train_batch = train_batch = mine_clips(train_batch, self.echo, self.splitter, self.global_steps)
            changed[WEIGHTS] = train_batch.clips.token_weights
            if self.echo.normalize_by == "clips":
                changed[CLIPS] = train_batch.clips.per_row[:, None]
        aux_only = self._aux_only(train_batch, coef > 0)[:, None]
        if (read.advantages.masked_fill(~aux_only, 0.0) != 0).any():
            changed["advantages"] = read.advantages.masked_fill(aux_only, 0.0)
            train_batch.advantages = train_batch.advantages.masked_fill(aux_only, 0.0)
        if changed:
            batch = self._put(batch, read, changed)
        if coef:
            batch.extra_info.update({COEF: coef, PROMPTS: self._prompts_per_update()})
        mined = time.perf_counter() - started
        batch = super()._update_actor(batch, metrics)
        metrics |= batch_metrics(train_batch, self.echo) | {names.ECHO_COEF: coef, "timing_s/echo": mined}
        if coef:
            metrics[names.ECHO_LOSS] = metrics.pop(f"actor/{names.ECHO_LOSS}")
            mask = train_batch.rollouts.response_mask
            metrics[names.ENTROPY] = train_batch.rollouts.entropy[mask].mean().item()
        steps = self.config.data.train_batch_size // self._prompts_per_update()
        steps *= self.config.actor_rollout_ref.actor.ppo_epochs
        metrics["actor/skipped_steps"] = metrics.pop(f"actor/{SKIPPED}") * steps
        self._watch(int(metrics.pop(f"actor/{BAD_IN_ROW}")))
        return batch

    def _watch(self, bad_in_row: int) -> None:
        """Called after each update with the number of optimizer steps in a row that were not finite."""

    def _aux_only(self, train_batch: TrainBatch, is_ours: bool) -> torch.Tensor:
        """(B,) bool: rows of groups of equal rewards, whose advantages are set to 0.

        verl divides by std + 1e-6 in float32, where the mean of equal rewards can be off by a rounding error, so that
        advantages are a few hundredths instead of 0. A step without echo term (not `is_ours`) keeps verl's numbers.
        """
        return degenerate_rows(train_batch.rewards, train_batch.rollouts.group_ids) & is_ours

    @staticmethod
    def _put(batch: KVBatchMeta, read: ReadBatch, columns: dict[str, torch.Tensor]) -> KVBatchMeta:
        """Write columns (B, T) or (B, 1) of the rows of `read` to the queue; padding rows get a zero."""
        rows = {key: number for number, key in enumerate(read.keys)}
        fields = {}
        for name, column in columns.items():
            parts = [
                column[rows[key], : read.lengths[rows[key]]] if key in rows else column.new_zeros(1)
                for key in batch.keys
            ]
            fields[name] = torch.nested.as_nested_tensor(parts, layout=torch.jagged)
        tq.kv_batch_put(
            keys=batch.keys, partition_id=batch.partition_id, fields=TensorDict(fields, batch_size=len(batch))
        )
        # Workers fetch only the columns that the batch names.
        known = list(batch.fields or ())
        batch.fields = known + [name for name in fields if name not in known]
        return batch

    def _prompts_per_update(self) -> int:
        return self.config.actor_rollout_ref.actor.ppo_mini_batch_size


for _trainer in (PPOTrainer, RayPPOTrainer):
    warn_where_the_term_is_missing(_trainer, EchoTrainer)
