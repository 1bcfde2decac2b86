"""What a rollout engine hands on: the responses of a step, and what was recorded with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from echorl_vl.data.problem import Problem


class PromptLike(Protocol):
    """What is asked of a prompt once its responses are there: its problem and its token ids (L,)."""

    problem: Problem
    input_ids: Tensor


@dataclass
class Rollouts:
    """P prompts with n responses each, B = P * n rows in group order, T the longest response; padded on the right.

    prompts: (P,); group_ids (B,) int64, prompt of each row; tokens (B, T) int64; response_mask (B, T) bool, tokens that
    the policy wrote, the ending one included; text_mask (B, T) bool, those of them that are text; log_probs and entropy
    (B, T) float32, nats, 0 outside response_mask, None where the engine has none; truncated (B,) bool, no end within
    max_tokens; texts: (B,) decoded responses without special tokens.
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
