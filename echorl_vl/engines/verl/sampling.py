"""verl's replay buffer that ends a run on failures, and whose dynamic sampling keeps groups for the echo term."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import transfer_queue as tq
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from echorl_vl.engines.ray.recorder import lost_answer_metrics
from echorl_vl.engines.verl.rewards import ERROR, LOST
from echorl_vl.errors import UserError
from echorl_vl.rewards.manager import check_not_all_lost


class EchoReplayBuffer(ReplayBuffer):
    """verl's buffer of the synchronous trainer.

    Attributes:
        keep: from the accuracies of a group that verl would drop to whether it is kept. None keeps none.
        max_groups: maximum number of groups dropped in one step. None: no limit.
        expected: partition -> rollouts per prompt.
        on_sample: called with partition and batch after sampling.
        reward: the reward function, for messages.
        time_limit: its time limit, for messages.
    """

    keep: Callable[[Sequence[float]], bool] | None = None
    max_groups: int | None = None
    expected: dict[str, int] = {}  # noqa: RUF012  (replaced, never changed)
    on_sample: Callable[[str, KVBatchMeta], None] | None = None
    reward, time_limit = "the reward function", 0.0
    _judged: tuple[str, ...] = ()  # `RewardManager.kinds` of rows in groups that verl would drop
    _rows = 0

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[KVBatchMeta, dict]:
        """Sample a batch of `batch_size` groups.

        Raises:
            UserError: rollouts are missing, the reward function fails, or dynamic sampling drops more than `max_groups`
                groups. verl itself continues without such rows, forever if there are no others.
        """
        self._dropped: set[str] = set()
        self._kept: set[str] = set()
        self._judged = ()
        self._rows = rows = self.expected.get(partition_id, 0) * batch_size
        batch, metrics = super().sample(global_steps, partition_id, batch_size)
        if len(batch) < rows:
            raise UserError(
                f"{rows - len(batch)} of {rows} rollouts failed; verl's agent loop has printed the reason above "
                "(`Error in _run_prompt`)"
            )
        infos = reward_info(batch.keys, partition_id)
        for info in infos:
            raise_reward_error(info)
        kinds = [info.get(LOST, "ok") for info in infos]
        check_not_all_lost(kinds, self.reward, self.time_limit)
        metrics = {**metrics, **lost_answer_metrics(kinds, f"step {global_steps} ({partition_id})")}
        if self.on_sample is not None:
            self.on_sample(partition_id, batch)
        return batch, metrics

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Counter]:
        uids, counts = super()._dapo_filtered_keys(partition_id)
        if new := uids - self._kept - self._dropped:
            self._judge(partition_id, new)
        if kept := uids & self._kept:
            cache = self._dapo_classification_cache[partition_id]
            uids, counts = uids - kept, counts - Counter(cache[uid] for uid in kept)
        if self.max_groups is not None and len(self._dropped) > self.max_groups:
            raise UserError(
                f"dynamic sampling dropped {len(self._dropped)} groups without filling a batch: the problems are too "
                "easy or too hard for this policy. Raise trainer.max_try_make_batch (-1: no limit), or set "
                "algorithm.online_filtering=false."
            )
        return uids, counts

    def _judge(self, partition_id: str, uids: set[str]) -> None:
        """Decide which of the groups that verl would drop are kept."""
        keys = [key for key in self.partitions[partition_id] if key.split("_")[0] in uids]
        accuracies: dict[str, list[float]] = defaultdict(list)
        for key, info in zip(keys, reward_info(keys, partition_id), strict=True):
            raise_reward_error(info)
            accuracies[key.split("_")[0]].append(float(info.get("acc", 0.0)))
            self._judged = *self._judged, info.get(LOST, "ok")
        if len(self._judged) >= self._rows:  # as many as a batch were dropped
            check_not_all_lost(self._judged, self.reward, self.time_limit)
        for uid in uids:
            keeps = self.keep is not None and self.keep(accuracies[uid])
            (self._kept if keeps else self._dropped).add(uid)


def raise_reward_error(info: dict[str, Any]) -> None:
    """Raises UserError with the error of the reward function, if there was one."""
    if ERROR in info:
        raise UserError(info[ERROR])


def reward_info(keys: Sequence[str], partition_id: str) -> list[dict[str, Any]]:
    """`reward_extra_info` of each row."""
    if not keys:
        return []
    data = tq.kv_batch_get(keys=list(keys), partition_id=partition_id, select_fields=["extra_fields"])
    rows = [getattr(row, "data", row) for row in data["extra_fields"]]
    return [row.get("reward_extra_info") or {} for row in rows]
