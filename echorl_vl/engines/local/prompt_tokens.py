"""Tokens of prompts that the update scores too, for a term that a rollout strategy adds to the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from echorl_vl.types import RolloutBatch


@dataclass(frozen=True)
class PromptTokens:
    """H tokens of the prompts of some rows; tensors are (H,).

    prompt: which of these prompts, in the order of their groups. place: position in it. row: one of the rows, which has
    this prompt. labels: token ids. weights: of their -log p in the term's sum. denominator: of the sum, over the whole
    optimizer step.
    """

    prompt: Tensor
    place: Tensor
    row: Tensor
    labels: Tensor
    weights: Tensor
    denominator: int


class PromptTerm(Protocol):
    """A term of the loss over tokens of the prompts. metric: its name. coef: its weight."""

    metric: str
    coef: float

    def tokens(self, rollouts: RolloutBatch, rows: range, step: range) -> PromptTokens | None:
        """Those of the prompts of `rows`, some of the rows of an optimizer step; None where the step has none.

        A prompt whose rows are spread over several calls counts once in all.
        """
