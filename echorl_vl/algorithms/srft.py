"""SRFT (arXiv 2506.19767): supervised and reinforcement fine-tuning in one step, weighted by entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from echorl_vl import core

from .base import Algorithm, Capability, LossRows, register, require
from .grpo import GRPO, NO_KL


@register("srft")
@dataclass(frozen=True)
class SRFT(Algorithm):
    """LUFFY with an additional supervised loss on the demonstration, both weighted by entropy."""

    gamma: float = 0.1
    """constant of the shaping f(x) = x / (x + gamma)"""
    sft_weight: float = 0.5
    """weight of the supervised loss, times exp(-entropy)"""
    positive_weight: float = 0.1
    """weight of correct on-policy rollouts, times exp(entropy)"""

    preset: ClassVar = GRPO.preset | NO_KL
    needs: ClassVar = frozenset({Capability.OFF_POLICY_ROWS})
    ignores_returns: ClassVar = True

    def __post_init__(self) -> None:
        require("gamma", self.gamma, self.gamma > 0, "a number above 0")
        for name in ("sft_weight", "positive_weight"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "a number of at least 0")

    def policy_loss(self, rows: LossRows, **clip: Any) -> core.PolicyLoss:
        return core.srft_loss(
            rows.log_probs,
            rows.old_log_probs,
            rows.advantages,
            rows.response_mask,
            rows.on_policy,
            rows.verified,
            rows.entropy,
            self.gamma,
            self.sft_weight,
            self.positive_weight,
            **clip,
        )
