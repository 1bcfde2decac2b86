"""Replacements for EasyR1's advantage estimators: exact zeros in degenerate groups, Dr. GRPO, Reinforce-Rej and GAE.

EasyR1 divides by std + 1e-6 in float32. The float32 mean of eight rewards of 0.9 (a correct answer in a bad format) is
off by a rounding error, with a std of 6e-8, so each row gets an advantage of -0.056 instead of 0: a push against
correct answers. With the echo term on, groups of equal rewards get exactly 0. With `echo.coef=0` EasyR1's numbers are
unchanged, bit for bit.

EasyR1's GAE evaluates `if response_mask[:, t]`, which fails for batches of more than one row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from verl.trainer.core_algos import ADV_ESTIMATOR_MAP, register_adv_estimator
from verl.utils.torch_functional import masked_whiten

from echorl_vl.config import Config
from echorl_vl.core import group_advantages
from echorl_vl.core.groups import degenerate_rows
from echorl_vl.engines.general_issues import GROUP_ESTIMATORS
from echorl_vl.engines.ray.batches import number_groups


def register_advantages(config: Config) -> None:
    """Replace the estimator of `config` in EasyR1's registry where EasyR1 lacks what it asks for."""
    name = config.algorithm.adv_estimator
    if name == "reinforce_rej":
        register_adv_estimator("grpo")(of_outcomes(name))  # `to_easyr1` uses this name
    elif name == "gae":
        register_adv_estimator(name)(gae)
    elif name == "grpo" and not config.algorithm.norm_adv_by_std_in_grpo:
        register_adv_estimator(name)(of_outcomes(name, norm_by_std=False))
    elif name in GROUP_ESTIMATORS and config.echo.coef:
        register_adv_estimator(name)(exact_zeros(ADV_ESTIMATOR_MAP[name]))


def gae(
    token_level_rewards: Tensor, values: Tensor, response_mask: Tensor, gamma: float, lam: float, **_: Any
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation (arXiv 1506.02438), whitened over the response tokens.

    With delta_t = r_t + gamma v_{t+1} - v_t the advantage is A_t = delta_t + gamma lam A_{t+1}, where t + 1 is the next
    token in the mask; the return is A_t + v_t.

    Args:
        token_level_rewards: (b, T).
        values: (b, T) of the critic.
        response_mask: (b, T).
        gamma: discount.
        lam: lambda of the estimator.

    Returns:
        Advantages and returns, both (b, T).
    """
    following = last = torch.zeros_like(values[:, 0])
    advantages = torch.zeros_like(values)
    for t in reversed(range(values.shape[1])):
        inside = response_mask[:, t].bool()
        delta = token_level_rewards[:, t] + gamma * following - values[:, t]
        last = torch.where(inside, delta + gamma * lam * last, last)
        following = torch.where(inside, values[:, t], following)
        advantages[:, t] = last
    return masked_whiten(advantages, response_mask), advantages + values


def of_outcomes(estimator: str, norm_by_std: bool = True) -> Any:
    """One of `core.group_advantages` as an estimator of EasyR1.

    Dr. GRPO is "grpo" without `norm_by_std`: r - mean. "reinforce_rej" is r, and 0 in groups of equal rewards.
    """

    def of_tokens(token_level_rewards: Tensor, response_mask: Tensor, index: Any, **_: Any) -> tuple[Tensor, Tensor]:
        rewards, groups = token_level_rewards.sum(-1), number_groups(index)
        advantages = group_advantages(rewards, groups, estimator, norm_by_std=norm_by_std)[:, None] * response_mask
        return advantages, advantages

    return of_tokens


def exact_zeros(estimator: Any) -> Any:
    """EasyR1's `estimator`, but exactly 0 for groups of equal rewards."""

    def exact(token_level_rewards: Tensor, index: Any, **arguments: Any) -> tuple[Tensor, Tensor]:
        degenerate = degenerate_rows(token_level_rewards.sum(-1), number_groups(index))[:, None]
        advantages, returns = estimator(token_level_rewards=token_level_rewards, index=index, **arguments)
        return advantages.masked_fill(degenerate, 0.0), returns

    return exact
