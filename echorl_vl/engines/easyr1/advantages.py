"""EasyR1's GRPO advantage, exact where a group has degenerated, and without the standard deviation where asked.

EasyR1 divides by std + 1e-6 in float32. Eight rewards of 0.9 (right, and badly formatted) have a mean that misses 0.9
by a rounding and a std of 6e-8, so that each gets an advantage of -0.056: a push against right answers, where none is
meant. With the echo term on, groups of equal rewards get exactly 0; with `echo.coef=0` EasyR1's numbers stay as they
are, bit for bit.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from verl.trainer.core_algos import ADV_ESTIMATOR_MAP, register_adv_estimator

from echorl_vl.config import Config
from echorl_vl.core import group_advantages
from echorl_vl.core.groups import degenerate_groups, group_index
from echorl_vl.engines.easyr1.rewards import group_ids

GROUP_ESTIMATORS = ("grpo", "grpo_passk", "rloo")


def register_advantages(config: Config) -> None:
    """Puts our variant in the place of the estimator that `config` names, where it asks for something EasyR1 lacks."""
    name = config.algorithm.adv_estimator
    if name == "grpo" and not config.algorithm.norm_adv_by_std_in_grpo:
        register_adv_estimator(name)(without_std)
    elif name in GROUP_ESTIMATORS and config.echo.coef:
        register_adv_estimator(name)(exact_zeros(ADV_ESTIMATOR_MAP[name]))


def without_std(token_level_rewards: Tensor, response_mask: Tensor, index: Any, **_: Any) -> tuple[Tensor, Tensor]:
    """Dr. GRPO: r - mean. (b, T) advantages and returns, as EasyR1 wants them."""
    rewards = token_level_rewards.sum(-1)
    advantages = group_advantages(rewards, group_ids(index), "grpo", norm_by_std=False)[:, None] * response_mask
    return advantages, advantages


def exact_zeros(estimator: Any) -> Any:
    """EasyR1's `estimator` with exactly 0 for groups whose rewards are all equal."""

    def exact(token_level_rewards: Tensor, index: Any, **arguments: Any) -> tuple[Tensor, Tensor]:
        groups, count = group_index(group_ids(index))
        degenerate = degenerate_groups(token_level_rewards.sum(-1), groups, count)[groups][:, None]
        advantages, returns = estimator(token_level_rewards=token_level_rewards, index=index, **arguments)
        return advantages.masked_fill(degenerate, 0.0), returns

    return exact
