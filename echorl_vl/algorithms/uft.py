"""UFT (arXiv 2505.16984): the prompt carries a hint, a part of the demonstration that shrinks with training."""

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
    """The demonstration is cut in at most `pieces` pieces, of which Binomial(pieces, p(step)) open the response.

    Hint tokens are part of the prompt: they have no advantage and are in no clip. Their NLL joins the loss.
    """

    pieces: int = 5
    """most pieces that a demonstration is cut in"""
    start: float = 0.95
    """p at the start, before the first step"""
    end: float = 0.05
    """p at the last step with hints"""
    hint_share: float = 0.6
    """first share of the run's steps, those with hints (the paper: 300 of 500)"""
    coef: float = 0.001
    """weight of the hint tokens' mean NLL"""

    preset: ClassVar = GRPO.preset | NO_KL
    needs: ClassVar = frozenset({Capability.HINTS})

    def __post_init__(self) -> None:
        require("pieces", self.pieces, self.pieces >= 1, "a whole number of at least 1")
        require("coef", self.coef, self.coef >= 0, "a number of at least 0")
        for name, expected in (("start", "a probability"), ("end", "a probability"), ("hint_share", "a share, 0 to 1")):
            require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, expected)

    def keep_hint(self, step: int, total_steps: int, pieces: Tensor, generator: torch.Generator) -> Tensor:
        """(P,) pieces of each demonstration, of (P,) `pieces`, that stand in its prompt at `step` (1 the first)."""
        probability = core.hint_probability(step, self.start, self.end, round(self.hint_share * total_steps))
        return core.draw_pieces(pieces, probability, generator)
