"""Which rollouts of a group are kept, and which groups need more of them (Reinforce-Ada, arXiv 2510.04996).

Sampling goes on for a prompt until `keep // 2` of its rollouts are right and `keep - keep // 2` are wrong, or the
rounds are used up. Of all that were drawn, `keep` rows then go into the update, half of them right where there are
enough.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .groups import group_index, group_reduce


def has_positive_and_negative(correct: Tensor, group_ids: Tensor, keep: int) -> Tensor:
    """(P,) bool, in ascending order of the group ids: enough right and wrong rollouts for a balanced half each.

    Args:
        correct: (B,) bool. group_ids: (B,) integers. keep: rollouts of a group that the update will take.
    """
    index, groups = group_index(group_ids)
    right = group_reduce(correct.long(), index, groups, "sum")
    wrong = group_reduce((~correct.bool()).long(), index, groups, "sum")
    return (right >= keep // 2) & (wrong >= keep - keep // 2)


def balanced_rows(correct: Tensor, group_ids: Tensor, keep: int) -> Tensor:
    """(B,) bool: `keep` rows of each group (all, where it has no more), half right and half wrong where possible.

    A kind that is short is filled up with the other. Within a kind the first rows stay, in the order of sampling.
    """
    index, groups = group_index(group_ids)
    kind = index * 2 + correct.long()  # wrong and right rows of a group
    place = _place(kind, groups * 2)
    right = group_reduce(correct.long(), index, groups, "sum")
    wrong = group_reduce((~correct.bool()).long(), index, groups, "sum")
    kept_right = torch.minimum(right, (keep - wrong).clamp(min=keep // 2))
    kept_wrong = torch.minimum(wrong, keep - kept_right)
    return place < torch.stack([kept_wrong, kept_right], 1).flatten()[kind]


def _place(kind: Tensor, kinds: int) -> Tensor:
    """(B,) how many rows of the same kind come before each row."""
    order = kind.argsort(stable=True)
    sizes = torch.bincount(kind, minlength=kinds)
    starts = sizes.cumsum(0) - sizes
    place = torch.empty_like(kind)
    place[order] = torch.arange(len(kind), device=kind.device) - starts[kind[order]]
    return place
