"""Reinforce-Ada (arXiv 2510.04996): prompts are sampled until they show both correct and incorrect answers."""

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
    """Rounds of n samples until correct and incorrect ones are there; `keep` stay, half of each where possible.

    Advantages compare with all samples of the prompt, those that do not stay included.
    """

    max_rounds: int = 4
    """rounds of worker.rollout.n samples for a prompt"""
    keep: int = 4
    """rows of a prompt that go into the update"""

    preset: ClassVar = GRPO.preset | NO_KL | {"worker.actor.clip_ratio_low": 0.2, "worker.actor.clip_ratio_high": 0.28}
    needs: ClassVar = frozenset({Capability.ROUNDS})

    def __post_init__(self) -> None:
        require("max_rounds", self.max_rounds, self.max_rounds >= 1, "a whole number of at least 1")
        require("keep", self.keep, self.keep >= 2, "a whole number of at least 2")

    def conflict(self, rollouts: int) -> tuple[str, str] | None:
        most = self.max_rounds * rollouts
        if self.keep <= most:
            return None
        return "keep", f"at most {most}, which is max_rounds times worker.rollout.n: no prompt could show that many"

    def is_done(self, correct: Tensor, group_ids: Tensor) -> Tensor:
        """(P,) bool: prompts that need no further round, from their rollouts so far (B,)."""
        return core.has_positive_and_negative(correct, group_ids, self.keep)

    def select_rows(self, correct: Tensor, group_ids: Tensor) -> Tensor:
        """(B,) bool: rows that go into the update."""
        return core.balanced_rows(correct, group_ids, self.keep)
