"""Prompt tokens that the update scores, for a loss term of a rollout strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from echorl_vl.types import RolloutBatch


@dataclass(frozen=True)
class PromptTokens:
    """H prompt tokens of some rows; all tensors are (H,).

    Attributes:
        prompt: index of the prompt among those of the rows, in the order of their groups.
        place: position of the token in its prompt.
        row: index of a row with this prompt.
        labels: token ids.
        weights: weights of -log p in the sum.
        denominator: divides the sum; a count over the whole optimizer step.
    """

    prompt: Tensor
    place: Tensor
    row: Tensor
    labels: Tensor
    weights: Tensor
    denominator: int


class PromptTerm(Protocol):
    """A loss term over prompt tokens.

    Attributes:
        metric: name of its metric.
        coef: weight in the loss.
    """

    metric: str
    coef: float

    def tokens(self, rollouts: RolloutBatch, rows: range, step: range) -> PromptTokens | None:
        """The prompt tokens of the term for some rows of an optimizer step; None if the step has none.

        A prompt whose rows are in several calls counts once in total.

        Args:
            rollouts: the rollouts of the training step.
            rows: rows of a micro-batch.
            step: rows of the whole optimizer step.
        """
