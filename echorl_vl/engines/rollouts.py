"""What a rollout engine hands on: the responses of a step, and what was recorded with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from echorl_vl.data.problem import Problem


class PromptLike(Protocol):
    """What is asked of a prompt once its responses are there: its problem and its token ids (L,)."""

    problem: Problem
    input_ids: Tensor


@dataclass
class Rollouts:
    """P prompts and B responses to them, rows in group order, T the longest response; padded on the right.

    prompts: (P,); group_ids (B,) int64, prompt of each row; tokens (B, T) int64; response_mask (B, T) bool, tokens that
    the policy wrote, the ending one included; text_mask (B, T) bool, those of them that are text; log_probs and entropy
    (B, T) float32, nats, 0 outside response_mask, None where the engine has none; truncated (B,) bool, no end within
    max_tokens; texts: (B,) decoded responses without special tokens; own_policy: (B,) bool, False for rows that an
    expert wrote (log_probs and entropy are 0 there), None if the policy wrote all.
    """

    prompts: Sequence[PromptLike]
    group_ids: Tensor
    tokens: Tensor
    response_mask: Tensor
    text_mask: Tensor
    log_probs: Tensor | None
    entropy: Tensor | None
    truncated: Tensor
    texts: list[str]
    own_policy: Tensor | None = None

    @property
    def own(self) -> Tensor:
        """(B,) bool: rows that the policy wrote."""
        return torch.ones_like(self.truncated) if self.own_policy is None else self.own_policy


def take_rows(rollouts: Rollouts, rows: Tensor) -> Rollouts:
    """Some rows, by an ascending index (b,); prompts without a row go, and groups are numbered anew."""
    prompts, group_ids = rollouts.group_ids[rows].unique(return_inverse=True)
    tensors = ("tokens", "response_mask", "text_mask", "log_probs", "entropy", "truncated", "own_policy")
    taken = {name: getattr(rollouts, name) for name in tensors}
    return Rollouts(
        prompts=[rollouts.prompts[prompt] for prompt in prompts.tolist()],
        group_ids=group_ids,
        texts=[rollouts.texts[row] for row in rows.tolist()],
        **{name: None if tensor is None else tensor[rows] for name, tensor in taken.items()},
    )
