"""From rollouts and their scores to rewards and advantages."""

from __future__ import annotations

import torch
from torch import Tensor

from echorl_vl.config import Config
from echorl_vl.core import group_advantages, verified_rollouts
from echorl_vl.engines.experience import Experience
from echorl_vl.engines.local.reference import kl_per_rollout
from echorl_vl.engines.rollouts import Rollouts


def assess(
    rollouts: Rollouts,
    scores: list[dict[str, float]],
    config: Config,
    ref_log_probs: Tensor | None = None,
    kl_coef: float = 0.0,
) -> Experience:
    """Rewards and advantages. With KL in the reward (`use_kl_loss: false`) each reward loses kl_coef * KL."""
    device = rollouts.tokens.device
    rewards = torch.tensor([score["overall"] for score in scores], dtype=torch.float32, device=device)
    accuracies = torch.tensor([score["accuracy"] for score in scores], dtype=torch.float32, device=device)
    algorithm = config.algorithm
    returns = rewards
    if ref_log_probs is not None and not algorithm.use_kl_loss:
        returns = rewards - kl_coef * kl_per_rollout(rollouts, ref_log_probs, algorithm.kl_penalty)
    advantages = group_advantages(
        returns,
        rollouts.group_ids,
        algorithm.adv_estimator,
        norm_by_std=algorithm.norm_adv_by_std_in_grpo,
        response_lengths=rollouts.response_mask.sum(-1),
    )
    verified = verified_rollouts(accuracies, config.echo)
    return Experience(rollouts, scores, rewards, accuracies, advantages[:, None], verified, ref_log_probs=ref_log_probs)
