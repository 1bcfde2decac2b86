"""Group-relative advantages from outcome rewards.

With r the rewards of a group of n rollouts, mean and std over that group (std unbiased, as in EasyR1):

    grpo                 (r - mean) / (std + eps); without the std, r - mean (Dr. GRPO, arXiv 2503.20783)
    grpo_passk           best rollout (r_best - r_second) / (std + eps), the others 0 (arXiv 2503.19595)
    rloo                 r - mean of the other n - 1 (arXiv 2402.14740)
    reinforce_rej        r, but 0 in a group whose rewards are all equal (arXiv 2504.11343)
    reinforce_plus_plus  (r - mean) / sqrt(var + eps) over the whole batch, each rollout weighted by its tokens
                         (arXiv 2501.03262); for token rewards or a discount see `token_advantages`

Invariant: the first four give exactly 0 to a group whose rewards are all equal. This is enforced, because the
floating-point mean of equal numbers can be off by a rounding error, which a division by eps = 1e-6 would amplify.
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
    """Compute the advantage of each rollout, which all of its tokens share.

    Args:
        rewards: (B,) outcome rewards.
        group_ids: (B,) integers; rollouts of the same prompt have the same id.
        estimator: one of `ESTIMATORS`.
        norm_by_std: divide by the group's std (grpo, grpo_passk).
        eps: added to the std.
        response_lengths: (B,) tokens, the weights of reinforce_plus_plus. None: all rollouts have the same weight.

    Returns:
        (B,) float32.

    Raises:
        ValueError: the estimator is unknown, the shapes don't match, or a group has only one rollout (all estimators
            but reinforce_plus_plus).
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"expected an advantage estimator ({', '.join(ESTIMATORS)}), got {estimator!r}")
    if rewards.dim() != 1 or rewards.shape != group_ids.shape:
        shapes = f"{tuple(rewards.shape)} and {tuple(group_ids.shape)}"
        raise ValueError(f"group_advantages expected rewards and group_ids of the same shape (B,), got {shapes}")
    rewards = rewards.double()
    if estimator == "reinforce_plus_plus":
        return _whiten(rewards, response_lengths).float()

    index, groups = group_index(group_ids)
    size = group_reduce(torch.ones_like(rewards), index, groups, "sum")
    if (size < 2).any():
        single = group_ids[(size < 2)[index]][0].item()
        raise ValueError(f"{estimator} expected groups of n > 1 rollouts, got group {single} with 1 rollout")

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
    """(B,) bool: rows with advantage 0 because the rewards (B,) of their group are equal, whatever their KL penalty."""
    if estimator not in REJECTING:
        return torch.zeros_like(rewards, dtype=torch.bool)
    index, groups = group_index(group_ids)
    return degenerate_groups(rewards, index, groups)[index]


def _lead(rewards: Tensor, index: Tensor, groups: int) -> Tensor:
    """(B,) best minus second reward of the group, at its best rollout; 0 elsewhere and on a tie."""
    best = group_reduce(rewards, index, groups, "amax")[index]
    is_best = rewards == best
    unique = (group_reduce(is_best.double(), index, groups, "sum") == 1)[index]
    others = torch.where(is_best, -torch.inf, rewards)
    second = group_reduce(others, index, groups, "amax")[index]
    return torch.where(is_best & unique, best - second, 0.0)


@torch.no_grad()
def token_advantages(token_rewards: Tensor, response_mask: Tensor, gamma: float = 1.0) -> Tensor:
    """Compute REINFORCE++ advantages from token rewards: discounted returns, whitened over all response tokens.

    Args:
        token_rewards: (B, T), the outcome reward at the last token of each response, minus a KL penalty at each token.
        response_mask: (B, T) bool.
        gamma: discount per token.

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
    """Compute DAPO's soft overlong penalty (arXiv 2503.14476, equation 13), a term to add to the rewards.

    With maximum length L and buffer C, the penalty of a response of l tokens is `factor` times

        0                     l <= L - C
        ((L - C) - l) / C     L - C < l <= L
        -1                    L < l

    so the reward falls linearly before the cut-off instead of in one step at it.

    Args:
        lengths: (B,) tokens of each response.
        max_tokens: L, the maximum length of a response.
        buffer: C, the number of tokens over which the penalty grows to `factor`.
        factor: the largest penalty.

    Returns:
        (B,) float32, 0 or negative.

    Raises:
        ValueError: the buffer is not between 1 and max_tokens.
    """
    if not 1 <= buffer <= max_tokens:
        raise ValueError(f"overlong_penalty expected a buffer of 1 to {max_tokens} tokens (max_tokens), got {buffer}")
    over = lengths.float() - (max_tokens - buffer)
    return -factor * torch.clamp(over / buffer, 0.0, 1.0)
