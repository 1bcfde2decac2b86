"""Groups: the rollouts of one prompt, and how many groups are degenerate.

A group whose rewards are all equal is degenerate: the advantage of its rollouts is 0, so it gives no policy gradient.
The share of such groups grows as the policy improves. EchoRL makes use of those that succeed.

Reinforce-Ada (arXiv 2510.04996) reduces their number: it samples a prompt again until `keep // 2` of its rollouts are
correct and `keep - keep // 2` are incorrect, or the rounds are used up (`has_positive_and_negative`). The update then
takes `keep` of all sampled rows, half of them correct where possible (`balanced_rows`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import metric_names as names


def group_index(group_ids: Tensor) -> tuple[Tensor, int]:
    """Return the group of each rollout as an index 0 .. P-1, and P. The ids may be any integers in any order."""
    if group_ids.dim() != 1:
        raise ValueError(f"expected group_ids of shape (B,), got {tuple(group_ids.shape)}")
    unique, index = torch.unique(group_ids, return_inverse=True)
    return index, unique.numel()


def group_reduce(values: Tensor, index: Tensor, groups: int, how: str) -> Tensor:
    """Reduce values (B,) to (P,) by group; `how` is "amax", "amin" or "sum"."""
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
    """Compute the shares of all-success, all-fail and degenerate groups, the mean accuracy, and `adv/zero_share`.

    Args:
        rewards: (B,) the whole reward of each rollout.
        accuracies: (B,) the accuracy part of the reward.
        group_ids: (B,) integers.
        verify_threshold: a rollout is correct if its accuracy is at least this.
        advantages: (B,), (B, 1) or (B, T). None: no `adv/zero_share`.
        response_mask: (B, T) bool, required with `advantages`.

    Raises:
        ValueError: the shapes don't match, the batch is empty, or only one of advantages and response_mask is given.
    """
    if not rewards.shape == accuracies.shape == group_ids.shape or rewards.numel() == 0:
        shapes = [tuple(tensor.shape) for tensor in (rewards, accuracies, group_ids)]
        raise ValueError(f"group_statistics expected three tensors of the same shape (B,), B > 0, got {shapes}")
    if (advantages is None) != (response_mask is None):
        raise ValueError("group_statistics expected both advantages and response_mask, or neither; got one of them")
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
    """Return whether each group has enough correct and incorrect rollouts for a balanced update.

    Args:
        correct: (B,) bool.
        group_ids: (B,) integers.
        keep: rollouts of a group that the update takes.

    Returns:
        (P,) bool, in ascending order of the group ids.
    """
    index, groups = group_index(group_ids)
    positive = group_reduce(correct.long(), index, groups, "sum")
    negative = group_reduce((~correct.bool()).long(), index, groups, "sum")
    return (positive >= keep // 2) & (negative >= keep - keep // 2)


def balanced_rows(correct: Tensor, group_ids: Tensor, keep: int) -> Tensor:
    """Select `keep` rows of each group, half correct and half incorrect where possible.

    If a group has too few correct rows, more incorrect rows take their place, and vice versa. The first rows are
    preferred. A group of at most `keep` rows is selected whole.

    Args:
        correct: (B,) bool.
        group_ids: (B,) integers.
        keep: rows to select from each group.

    Returns:
        (B,) bool.
    """
    index, groups = group_index(group_ids)
    label = index * 2 + correct.long()  # incorrect and correct rows of each group
    place = _place(label, groups * 2)
    positive = group_reduce(correct.long(), index, groups, "sum")
    negative = group_reduce((~correct.bool()).long(), index, groups, "sum")
    kept_positive = torch.minimum(positive, (keep - negative).clamp(min=keep // 2))
    kept_negative = torch.minimum(negative, keep - kept_positive)
    return place < torch.stack([kept_negative, kept_positive], 1).flatten()[label]


def _place(label: Tensor, labels: int) -> Tensor:
    """(B,) number of rows with the same label before each row."""
    order = label.argsort(stable=True)
    sizes = torch.bincount(label, minlength=labels)
    starts = sizes.cumsum(0) - sizes
    place = torch.empty_like(label)
    place[order] = torch.arange(len(label), device=label.device) - starts[label[order]]
    return place
