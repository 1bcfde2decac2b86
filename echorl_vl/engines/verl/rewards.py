"""verl's reward manager with our grading: worker processes, a time limit for each answer, checked scores.

verl grades each answer as soon as it is written, so a reward function of batches gets batches of one here.
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
"""Part of a row's `reward_extra_info` that says what is wrong with the reward function: raised in the reward loop, it
would be lost, since verl goes on without rows that fail."""
LOST = "not_scored"
"""Part of the `reward_extra_info` of a row without a score: what became of it (`RewardManager.kinds`)."""


class EchoRewardManager(RewardManagerBase):
    """Grades with the function that `echorl.reward` names; one of these, with one grading process, in each of verl's
    `reward.num_workers`."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        reward = config.echorl.reward
        self._skip_special_tokens = reward.skip_special_tokens
        on_error = getattr(reward, "on_error", "stop")  # a configuration of before has none
        self._manager = RewardManager(reward.function, dict(reward.kwargs), 1, reward.time_limit, on_error)
        self._one_at_a_time = ThreadPoolExecutor(1)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """`reward_score`, and the parts of the reward in `reward_extra_info`: score, acc, and what else there is."""
        item = data[-1:][0]  # of several outputs the last one holds the answer
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
