"""Groups: the rollouts of one prompt, and how many of them have degenerated.

A group whose rewards are all equal has advantage 0 in every rollout and gives no policy gradient. Its share grows as
the policy gets better, which is what EchoRL is for.

Reinforce-Ada (arXiv 2510.04996) has fewer of them: it samples a prompt again until `keep // 2` of its rollouts are
correct and `keep - keep // 2` incorrect, or the rounds are used up (`has_positive_and_negative`). Of all that were
sampled, `keep` rows then go into the update, half of them correct where there are enough (`balanced_rows`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import metric_names as names


def group_index(group_ids: Tensor) -> tuple[Tensor, int]:
    """Group of each rollout as an index 0 .. P-1 (ids may be any integers in any order), and P."""
    if group_ids.dim() != 1:
        raise ValueError(f"group_ids needs shape (B,), got {tuple(group_ids.shape)}")
    found, index = torch.unique(group_ids, return_inverse=True)
    return index, found.numel()


def group_reduce(values: Tensor, index: Tensor, groups: int, how: str) -> Tensor:
    """(P,) reduction of (B,) values by group; `how` is "amax", "amin" or "sum"."""
    out = torch.zeros(groups, dtype=values.dtype, device=values.device)
    return out.scatter_reduce_(0, index, values, how, include_self=how == "sum")


def all_of_group(flags: Tensor, index: Tensor, groups: int) -> Tensor:
    """(P,) bool: the flag (B,) of every rollout of the group is set."""
    return group_reduce(flags.double(), index, groups, "amin") == 1


def degenerate_groups(rewards: Tensor, index: Tensor, groups: int) -> Tensor:
    """(P,) bool: all rewards of the group are equal."""
    return group_reduce(rewards, index, groups, "amax") == group_reduce(rewards, index, groups, "amin")


def degenerate_rows(rewards: Tensor, group_ids: Tensor) -> Tensor:
    """(B,) bool: all rewards of the row's group are equal."""
    index, groups = group_index(group_ids)
    return degenerate_groups(rewards, index, groups)[index]


def all_in_group(flags: Tensor, group_ids: Tensor) -> Tensor:
    """(B,) bool: the flag (B,) of every rollout of the row's group is set."""
    index, groups = group_index(group_ids)
    return all_of_group(flags, index, groups)[index]


@torch.no_grad()
def group_statistics(
    rewards: Tensor,
    accuracies: Tensor,
    group_ids: Tensor,
    verify_threshold: float = 1.0,
    advantages: Tensor | None = None,
    response_mask: Tensor | None = None,
) -> dict[str, float]:
    """Shares of groups that succeed, fail or degenerate; mean accuracy; share of tokens without advantage.

    Args:
        rewards: (B,) the whole reward of each rollout.
        accuracies: (B,) its accuracy part; correct at or above `verify_threshold`.
        group_ids: (B,) integers.
        advantages: (B,), (B, 1) or (B, T); with `response_mask` (B, T) gives `adv/zero_share`, else that is left out.

    Raises:
        ValueError: shapes that don't fit, an empty batch, or one of advantages and response_mask without the other.
    """
    if not rewards.shape == accuracies.shape == group_ids.shape or rewards.numel() == 0:
        shapes = [tuple(tensor.shape) for tensor in (rewards, accuracies, group_ids)]
        raise ValueError(f"group_statistics needs three tensors of one shape (B,), B > 0, got {shapes}")
    if (advantages is None) != (response_mask is None):
        raise ValueError("adv/zero_share needs both advantages and response_mask")
    index, groups = group_index(group_ids)
    correct = accuracies >= verify_threshold
    statistics = {
        names.ALL_SUCCESS: all_of_group(correct, index, groups).float().mean().item(),
        names.ALL_FAIL: all_of_group(~correct, index, groups).float().mean().item(),
        names.DEGENERATE: degenerate_groups(rewards, index, groups).float().mean().item(),
        names.ACCURACY: accuracies.double().mean().item(),
    }
    if advantages is not None and response_mask is not None:
        statistics[names.ZERO_ADVANTAGE] = _zero_share(advantages, response_mask.bool())
    return statistics


def _zero_share(advantages: Tensor, response_mask: Tensor) -> float:
    per_token = advantages[:, None] if advantages.dim() == 1 else advantages
    zero = ((per_token == 0) & response_mask).sum().item()
    return zero / max(1, response_mask.sum().item())


def has_positive_and_negative(correct: Tensor, group_ids: Tensor, keep: int) -> Tensor:
    """(P,) bool, in ascending order of the group ids: enough correct and incorrect rollouts for a balanced half each.

    Args:
        correct: (B,) bool. group_ids: (B,) integers. keep: rollouts of a group that the update will take.
    """
    index, groups = group_index(group_ids)
    positive = group_reduce(correct.long(), index, groups, "sum")
    negative = group_reduce((~correct.bool()).long(), index, groups, "sum")
    return (positive >= keep // 2) & (negative >= keep - keep // 2)


def balanced_rows(correct: Tensor, group_ids: Tensor, keep: int) -> Tensor:
    """(B,) bool: `keep` rows of each group (all, where it has no more), half correct and half incorrect where possible.

    A kind that is short is filled up with the other. Within a kind the first rows stay, in the order of sampling.
    """
    index, groups = group_index(group_ids)
    kind = index * 2 + correct.long()  # incorrect and correct rows of a group
    place = _place(kind, groups * 2)
    positive = group_reduce(correct.long(), index, groups, "sum")
    negative = group_reduce((~correct.bool()).long(), index, groups, "sum")
    kept_positive = torch.minimum(positive, (keep - negative).clamp(min=keep // 2))
    kept_negative = torch.minimum(negative, keep - kept_positive)
    return place < torch.stack([kept_negative, kept_positive], 1).flatten()[kind]


def _place(kind: Tensor, kinds: int) -> Tensor:
    """(B,) how many rows of the same kind come before each row."""
    order = kind.argsort(stable=True)
    sizes = torch.bincount(kind, minlength=kinds)
    starts = sizes.cumsum(0) - sizes
    place = torch.empty_like(kind)
    place[order] = torch.arange(len(kind), device=kind.device) - starts[kind[order]]
    return place
