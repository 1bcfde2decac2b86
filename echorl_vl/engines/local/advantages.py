"""Rewards and advantages of graded rollouts."""

from __future__ import annotations

import torch
from torch import Tensor

from echorl_vl.algorithms import Algorithm, Capability, make_algorithm
from echorl_vl.config import Config
from echorl_vl.core import group_advantages, rejected_rows, token_advantages
from echorl_vl.engines.local.reference import kl_of_tokens
from echorl_vl.types import RolloutBatch, TrainBatch


def compute_advantages(
    rollouts: RolloutBatch,
    config: Config,
    algorithm: Algorithm | None = None,
    ref_log_probs: Tensor | None = None,
    kl_coef: float = 0.0,
) -> TrainBatch:
    """Computes rewards and advantages.

    With KL in the reward (`use_kl_loss: false`), kl_coef * KL is subtracted from the reward of each on-policy row.
    reinforce_plus_plus has one advantage per token, from the discounted return that follows it; the other estimators
    have one per row. Rows of the echo term alone (`aux_only`) and rows of SFT have advantage 0.

    Args:
        rollouts: graded rollouts, B rows.
        config: the run's configuration.
        algorithm: the base algorithm; None takes the one of the configuration.
        ref_log_probs: (B, T) log-probabilities of the reference policy; None without KL.
        kl_coef: weight of the KL in the reward.

    Returns:
        A batch with advantages (B, 1), or (B, T) for reinforce_plus_plus.
    """
    algorithm = algorithm or make_algorithm(config.algorithm.name, config.algorithm.options)
    settings, rewards = config.algorithm, rollouts.score("overall")
    lengths = rollouts.response_mask.sum(-1)
    returns = algorithm.shape_rewards(rewards, lengths, config.data.max_response_length)
    kl = torch.zeros_like(rollouts.log_probs)
    if ref_log_probs is not None and not settings.use_kl_loss:
        kl = kl_of_tokens(rollouts, ref_log_probs, settings.kl_penalty)
    if Capability.NO_ROLLOUTS in algorithm.needs:
        advantages = torch.zeros_like(returns)[:, None]
    elif settings.adv_estimator == "reinforce_plus_plus":
        outcome = torch.zeros_like(kl).scatter(1, (lengths - 1)[:, None], returns[:, None])
        advantages = token_advantages(outcome - kl_coef * kl, rollouts.response_mask, settings.gamma)
    else:
        advantages = group_advantages(
            returns - kl_coef * kl.sum(-1),
            rollouts.group_ids,
            settings.adv_estimator,
            norm_by_std=settings.norm_adv_by_std_in_grpo,
        )[:, None]
    silent = rejected_rows(rewards, rollouts.group_ids, settings.adv_estimator)
    if rollouts.aux_only is not None:
        silent = silent | rollouts.aux_only
    return TrainBatch.from_rollouts(rollouts, advantages.masked_fill(silent[:, None], 0.0), config.echo, ref_log_probs)
