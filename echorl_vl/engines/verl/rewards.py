"""verl's reward manager with our `RewardManager`: worker processes, a time limit per answer, checked scores.

verl scores each response as soon as it is sampled, so a batch reward function gets batches of one.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.protocol import DataProto

from echorl_vl.errors import UserError
from echorl_vl.rewards.manager import RewardManager

ERROR = "reward_error"
"""Part of a row's `reward_extra_info` with the error of the reward function. verl continues without rows that fail, so
an exception in the reward loop would be lost."""
LOST = "not_scored"
"""Part of the `reward_extra_info` of a row without a score: why it has none (`RewardManager.kinds`)."""


class EchoRewardManager(RewardManagerBase):
    """Scores with the function that `echorl.reward` names. Each of verl's `reward.num_workers` has one such manager
    with one worker process."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        reward = config.echorl.reward
        self._skip_special_tokens = reward.skip_special_tokens
        on_error = getattr(reward, "on_error", "stop")  # configurations of older runs lack it
        self._manager = RewardManager(reward.function, dict(reward.kwargs), 1, reward.time_limit, on_error)
        self._one_at_a_time = ThreadPoolExecutor(1)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """`reward_score`, and in `reward_extra_info` score, acc and further parts of the reward."""
        item = data[-1:][0]  # the last of several outputs has the answer
        response = item.batch["responses"]
        length = int(item.batch["attention_mask"][-len(response) :].sum())
        truth = item.non_tensor_batch["reward_model"]["ground_truth"]
        loop = asyncio.get_running_loop()
        parts = await loop.run_in_executor(self._one_at_a_time, self._score, response[:length].tolist(), str(truth))
        return {"reward_score": parts["score"], "reward_extra_info": parts}

    def _score(self, tokens: list[int], truth: str) -> dict[str, Any]:
        response = self.tokenizer.decode(tokens, skip_special_tokens=self._skip_special_tokens)
        try:
            (score,) = self._manager.score([response], [len(tokens)], [truth])
        except UserError as error:
            return {"score": 0.0, "acc": 0.0, ERROR: str(error)}
        others = {name: value for name, value in score.items() if name not in ("overall", "accuracy")}
        lost = {} if self._manager.kinds == ["ok"] else {LOST: self._manager.kinds[0]}
        return {"score": score["overall"], "acc": score["accuracy"], **others, **lost}
