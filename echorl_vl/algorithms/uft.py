"""UFT (arXiv 2505.16984): the prompt includes a hint, a prefix of the demonstration that shrinks during training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from echorl_vl import core

from .base import Algorithm, Capability, register, require
from .grpo import GRPO, NO_KL

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@register("uft")
@dataclass(frozen=True)
class UFT(Algorithm):
    """GRPO with hints: the first Binomial(pieces, p(step)) pieces of the demonstration follow the prompt.

    Hint tokens are part of the prompt: they have no advantage and belong to no clip. Their NLL is added to the loss.
    """

    pieces: int = 5
    """maximum number of pieces of a demonstration"""
    start: float = 0.95
    """p before the first step"""
    end: float = 0.05
    """p at the last step with hints"""
    hint_share: float = 0.6
    """share of the run's steps that have hints, from the first step on (the paper: 300 of 500)"""
    coef: float = 0.001
    """weight of the mean NLL of hint tokens"""

    preset: ClassVar = GRPO.preset | NO_KL
    needs: ClassVar = frozenset({Capability.HINTS})

    def __post_init__(self) -> None:
        require("pieces", self.pieces, self.pieces >= 1, "a whole number of at least 1")
        require("coef", self.coef, self.coef >= 0, "a number of at least 0")
        for name, expected in (("start", "a probability"), ("end", "a probability"), ("hint_share", "a share, 0 to 1")):
            require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, expected)

    def keep_hint(self, step: int, total_steps: int, pieces: Tensor, generator: torch.Generator) -> Tensor:
        """Sample the number of pieces in each hint (P,) at `step` (from 1), given the pieces (P,) of demonstrations."""
        probability = core.hint_probability(step, self.start, self.end, round(self.hint_share * total_steps))
        return core.draw_pieces(pieces, probability, generator)
