"""Reinforce-Ada (arXiv 2510.04996): each prompt is sampled until it has both correct and incorrect rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from echorl_vl import core

from .base import Algorithm, Capability, register, require
from .grpo import GRPO, NO_KL

if TYPE_CHECKING:
    from torch import Tensor


@register("reinforce_ada")
@dataclass(frozen=True)
class ReinforceAda(Algorithm):
    """Samples rounds of n rollouts until some are correct and some are not, and trains on a balanced set of `keep`.

    Advantages are relative to all rollouts of the prompt, including those that are not used.
    """

    max_rounds: int = 4
    """maximum rounds of worker.rollout.n rollouts per prompt"""
    keep: int = 4
    """rollouts of a prompt that are used in the update"""

    preset: ClassVar = GRPO.preset | NO_KL | {"worker.actor.clip_ratio_low": 0.2, "worker.actor.clip_ratio_high": 0.28}
    needs: ClassVar = frozenset({Capability.ROUNDS})

    def __post_init__(self) -> None:
        require("max_rounds", self.max_rounds, self.max_rounds >= 1, "a whole number of at least 1")
        require("keep", self.keep, self.keep >= 2, "a whole number of at least 2")

    def conflict(self, rollouts: int) -> tuple[str, str] | None:
        most = self.max_rounds * rollouts
        if self.keep <= most:
            return None
        return "keep", f"at most {most}, the most rollouts of a prompt (max_rounds times worker.rollout.n)"

    def is_done(self, correct: Tensor, group_ids: Tensor) -> Tensor:
        """(P,) bool: prompts that need no further round, given their rollouts (B,) so far."""
        return core.has_positive_and_negative(correct, group_ids, self.keep)

    def select_rows(self, correct: Tensor, group_ids: Tensor) -> Tensor:
        """(B,) bool: rows that are used in the update."""
        return core.balanced_rows(correct, group_ids, self.keep)
