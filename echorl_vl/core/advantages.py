"""Group-relative advantages from outcome rewards.

With r the rewards of a group of n rollouts, mean and std over that group (std unbiased, as in EasyR1):

    grpo                 (r - mean) / (std + eps); without the std, r - mean (Dr. GRPO, arXiv 2503.20783)
    grpo_passk           best rollout (r_best - r_second) / (std + eps), the others 0 (arXiv 2503.19595)
    rloo                 r - mean of the other n - 1 (arXiv 2402.14740)
    reinforce_rej        r, but 0 in a group whose rewards are all equal (arXiv 2504.11343)
    reinforce_plus_plus  (r - mean) / sqrt(var + eps) over the whole batch, each rollout weighing as many tokens as it
                         has (arXiv 2501.03262); with rewards of single tokens or a discount: `token_advantages`

Invariant: a group whose rewards are all equal gets exactly 0 from the first four. Floating-point means of equal
numbers can miss them by a rounding, and a division by eps = 1e-6 would make that an advantage, so it is enforced.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .groups import degenerate_groups, group_index, group_reduce

ESTIMATORS = ("grpo", "grpo_passk", "rloo", "reinforce_rej", "reinforce_plus_plus")
REJECTING = ("reinforce_rej",)
"""Estimators that reject groups of equal rewards."""


@torch.no_grad()
def group_advantages(
    rewards: Tensor,
    group_ids: Tensor,
    estimator: str = "grpo",
    norm_by_std: bool = True,
    eps: float = 1e-6,
    response_lengths: Tensor | None = None,
) -> Tensor:
    """Advantage of each rollout; every token of the rollout shares it.

    Args:
        rewards: (B,) outcome rewards.
        group_ids: (B,) integers; rollouts of one prompt share one.
        estimator: one of `ESTIMATORS`.
        norm_by_std: divide by the group's std (grpo, grpo_passk).
        response_lengths: (B,) tokens, weights for reinforce_plus_plus; without it every rollout weighs the same.

    Returns:
        (B,) float32.

    Raises:
        ValueError: unknown estimator, shapes that don't fit, or a group of one rollout where a group is needed.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"no advantage estimator is called {estimator!r}; there are {', '.join(ESTIMATORS)}")
    if rewards.dim() != 1 or rewards.shape != group_ids.shape:
        shapes = f"{tuple(rewards.shape)} and {tuple(group_ids.shape)}"
        raise ValueError(f"group_advantages needs rewards and group_ids of one shape (B,), got {shapes}")
    rewards = rewards.double()
    if estimator == "reinforce_plus_plus":
        return _whiten(rewards, response_lengths).float()

    index, groups = group_index(group_ids)
    size = group_reduce(torch.ones_like(rewards), index, groups, "sum")
    if (size < 2).any():
        alone = group_ids[(size < 2)[index]][0].item()
        raise ValueError(f"{estimator} compares the rollouts of a group, but group {alone} has one (expected n > 1)")

    centred = rewards - (group_reduce(rewards, index, groups, "sum") / size)[index]
    if estimator == "rloo":
        advantages = centred * (size / (size - 1))[index]  # r - (sum - r) / (n - 1)
    elif estimator == "reinforce_rej":
        advantages = rewards
    else:
        advantages = _lead(rewards, index, groups) if estimator == "grpo_passk" else centred
        if norm_by_std:
            std = (group_reduce(centred.square(), index, groups, "sum") / (size - 1)).sqrt()
            advantages = advantages / (std + eps)[index]
    return advantages.masked_fill(degenerate_groups(rewards, index, groups)[index], 0.0).float()


@torch.no_grad()
def rejected_rows(rewards: Tensor, group_ids: Tensor, estimator: str) -> Tensor:
    """(B,) bool: rows whose advantage is 0 for their group's rewards (B,), whatever a KL has added to their returns."""
    if estimator not in REJECTING:
        return torch.zeros_like(rewards, dtype=torch.bool)
    index, groups = group_index(group_ids)
    return degenerate_groups(rewards, index, groups)[index]


def _lead(rewards: Tensor, index: Tensor, groups: int) -> Tensor:
    """(B,) lead of the best rollout of a group over the second, at the best; 0 elsewhere and on a tie."""
    best = group_reduce(rewards, index, groups, "amax")[index]
    is_best = rewards == best
    sole = (group_reduce(is_best.double(), index, groups, "sum") == 1)[index]
    others = torch.where(is_best, -torch.inf, rewards)
    second = group_reduce(others, index, groups, "amax")[index]
    return torch.where(is_best & sole, best - second, 0.0)


@torch.no_grad()
def token_advantages(token_rewards: Tensor, response_mask: Tensor, gamma: float = 1.0) -> Tensor:
    """REINFORCE++ with a reward for each token: discounted returns, whitened over all response tokens of the batch.

    Args:
        token_rewards: (B, T) the outcome at each response's last token, and what a KL takes from single tokens.
        response_mask: (B, T) bool.
        gamma: a token counts what a token k places later earns gamma**k times.

    Returns:
        (B, T) float32, 0 outside the response.
    """
    mask = response_mask.bool()
    rewards = torch.where(mask, token_rewards.double(), 0.0)
    returns, running = torch.zeros_like(rewards), torch.zeros_like(rewards[:, 0])
    for place in reversed(range(rewards.shape[1])):
        running = (rewards[:, place] + gamma * running) * mask[:, place]
        returns[:, place] = running
    advantages = torch.zeros_like(returns)
    advantages[mask] = _whiten(returns[mask], None)
    return advantages.float()


def _whiten(rewards: Tensor, weights: Tensor | None, eps: float = 1e-8) -> Tensor:
    weights = torch.ones_like(rewards) if weights is None else weights.double()
    total = weights.sum()
    centred = rewards - (rewards * weights).sum() / total
    variance = (centred.square() * weights).sum() / (total - 1).clamp(min=1)
    return centred * torch.rsqrt(variance + eps)


def overlong_penalty(lengths: Tensor, max_tokens: int, buffer: int, factor: float = 1.0) -> Tensor:
    """DAPO's soft penalty of overlong responses (arXiv 2503.14476, equation 13), which is added to their rewards.

    With L the longest response and C the last tokens of it, a response of l tokens has its reward changed by

        0                     l <= L - C
        ((L - C) - l) / C     L - C < l <= L
        -1                    L < l

    times a factor: no step in the reward where a response is cut off, but a slope before it.

    Args:
        lengths: (B,) tokens. max_tokens: L, the longest response. buffer: C, tokens over which the penalty grows to
            `factor`.

    Returns:
        (B,) float32, 0 or negative.

    Raises:
        ValueError: the buffer is not between 1 and max_tokens.
    """
    if not 1 <= buffer <= max_tokens:
        raise ValueError(f"overlong_penalty needs a buffer of 1 to {max_tokens} tokens (max_tokens), got {buffer}")
    over = lengths.float() - (max_tokens - buffer)
    return -factor * torch.clamp(over / buffer, 0.0, 1.0)
