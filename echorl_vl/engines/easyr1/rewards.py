"""Rewards per rollout. EasyR1 itself only reports means of the parts of the reward.

`EchoRewardManager` scores rollouts in EasyR1's reward actor. `RewardRecorder` replaces that actor's handle on the
driver, and keeps the scores of each row. The batch carries a number for each row, since EasyR1 filters, joins and
reorders rows between scoring and update.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import ray
import torch
from torch import Tensor
from transformers import PreTrainedTokenizer
from verl.protocol import DataProto
from verl.workers.reward import AutoRewardManager

from echorl_vl.algorithms import make_algorithm
from echorl_vl.config import Config
from echorl_vl.core.groups import all_in_group
from echorl_vl.engines.easyr1.settings import AUX_ONLY_FILTER, LOST
from echorl_vl.engines.ray.batches import number_groups
from echorl_vl.rewards.manager import KINDS, RewardManager

ROW = "reward_row"  # column: number of a row among all scored rows
KEEP_SUCCESS = "keep_success"  # in the batch's meta_info


class EchoRewardManager(AutoRewardManager):
    """EasyR1's reward manager with our `RewardManager`: worker processes, time limits, checked scores."""

    ours: Config  # set by `for_run` on a subclass, since EasyR1 passes only its own section

    @classmethod
    def for_run(cls, config: Config) -> type[EchoRewardManager]:
        """A subclass for one run."""
        return type(cls.__name__, (cls,), {"ours": config})

    def __init__(self, config: Any, tokenizer: PreTrainedTokenizer) -> None:
        # EasyR1's `__init__` would also import the user's file into this process.
        self.config, self.tokenizer = config, tokenizer
        reward, reference = self.ours.worker.reward, f"{config.reward_function}:{config.reward_function_name}"
        kwargs = dict(config.reward_function_kwargs)
        self._manager = RewardManager(reference, kwargs, config.num_cpus, reward.time_limit, reward.on_error)
        self.reward_type, self.reward_fn = "batch", self._score  # the pool calls sequential functions itself

    def compute_reward(self, data: DataProto) -> tuple[Tensor, dict[str, list[float]]]:
        """Score a batch.

        In training, the base algorithm shapes the rewards (DAPO's overlong penalty), but not the parts. If groups that
        all succeed are kept in any step (`AlgorithmConfig.keeps_all_success`), there is one more part, by which EasyR1
        keeps or drops groups.

        Returns:
            (b, T) rewards at the last token, and the parts of the reward, a list over rows each.
        """
        rewards, parts = super().compute_reward(data)
        if "uid" not in data.non_tensor_batch:  # validation
            return rewards, parts
        algorithm = self.ours.algorithm
        rewards = self._shaped(rewards, data.batch["response_mask"].sum(-1))
        if algorithm.keeps_all_success(self.ours.echo.coef > 0):
            accuracies = torch.tensor(parts["accuracy"], dtype=torch.float64)
            groups = number_groups(data.non_tensor_batch["uid"])
            success = all_in_group(accuracies >= self.ours.echo.verify_threshold, groups)
            success &= data.meta_info[KEEP_SUCCESS]
            inside = (algorithm.filter_low + algorithm.filter_high) / 2
            parts[AUX_ONLY_FILTER] = torch.where(success, inside, accuracies).tolist()
        return rewards, parts

    def _shaped(self, rewards: Tensor, lengths: Tensor) -> Tensor:
        """The rewards (b, T) of responses of `lengths` (b,) tokens, shaped by the algorithm."""
        settings, last = self.ours.algorithm, (lengths - 1)[:, None]
        algorithm = make_algorithm(settings.name, settings.options)
        graded = rewards.gather(1, last).squeeze(1)
        shaped = algorithm.shape_rewards(graded, lengths, self.ours.data.max_response_length)
        return rewards.scatter(1, last, shaped[:, None].to(rewards.dtype))

    def _score(self, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
        columns = [[row[key] for row in rows] for key in ("response", "response_length", "ground_truth")]
        scores = self._manager.score(*columns)
        common = set.intersection(*map(set, scores))  # EasyR1 keeps a list per part, so every row needs all of them
        scores = [{part: value for part, value in score.items() if part in common} for score in scores]
        kinds = self._manager.kinds
        if set(kinds) == {"ok"}:
            return scores
        return [score | {LOST: float(KINDS.index(kind))} for score, kind in zip(scores, kinds, strict=True)]


class RewardRecorder:
    """EasyR1's handle of the reward actor (`compute_reward.remote`), which keeps the scores of each row.

    Attributes:
        keep_success: whether dynamic sampling keeps groups that all succeed in this step.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._answers: list[tuple[Any, DataProto]] = []
        self._rows = 0
        self.keep_success = False

    @property
    def compute_reward(self) -> RewardRecorder:
        return self

    def remote(self, batch: DataProto) -> Any:
        """Number the rows of `batch` and have the actor score them."""
        batch.meta_info[KEEP_SUCCESS] = self.keep_success
        first, self._rows = self._rows, self._rows + len(batch)
        batch.non_tensor_batch[ROW] = np.arange(first, self._rows, dtype=object)
        answer = self._actor.compute_reward.remote(batch)
        self._answers.append((answer, batch))
        return answer

    @property
    def asked(self) -> int:
        """Number of batches scored since the last `take`: in training, the rounds of sampling."""
        return len(self._answers)

    def kinds(self) -> list[str]:
        """`RewardManager.kinds` of the rows scored since the last `take`, of batches in which a row got no score."""
        parts = [ray.get(answer)[1].get(LOST, []) for answer, _ in self._answers]
        return [KINDS[int(number)] for numbers in parts for number in numbers]

    def forget(self) -> None:
        """Drop all scores."""
        self._answers.clear()

    def scores(self, batch: DataProto) -> list[dict[str, float]]:
        """The parts of the reward of each row of `batch`; drops all scores."""
        answers = [(asked.non_tensor_batch[ROW].tolist(), scores) for scores, asked in self.take()]
        by_row = {row: score for rows, scores in answers for row, score in zip(rows, scores, strict=True)}
        return [by_row[row] for row in batch.non_tensor_batch[ROW].tolist()]

    def take(self) -> list[tuple[list[dict[str, float]], DataProto]]:
        """(scores, batch) of each batch scored so far, in order; drops them."""
        answers, self._answers = self._answers, []
        return [(_by_row(ray.get(answer)[1]), batch) for answer, batch in answers]


def _by_row(parts: dict[str, list[float]]) -> list[dict[str, float]]:
    """{"accuracy": [1.0, 0.0]} -> [{"accuracy": 1.0}, {"accuracy": 0.0}]."""
    columns = {key: values for key, values in parts.items() if key not in (AUX_ONLY_FILTER, LOST)}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
