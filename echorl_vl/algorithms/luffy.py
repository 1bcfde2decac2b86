"""LUFFY (arXiv 2504.14945): each group includes a demonstration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from echorl_vl import core

from .base import Algorithm, Capability, LossRows, register, require
from .grpo import GRPO, NO_KL


@register("luffy")
@dataclass(frozen=True)
class LUFFY(Algorithm):
    """GRPO in which the last of the n rows of each group (`worker.rollout.n`) is a demonstration."""

    gamma: float = 0.1
    """constant of the shaping f(x) = x / (x + gamma)"""

    preset: ClassVar = GRPO.preset | NO_KL
    needs: ClassVar = frozenset({Capability.OFF_POLICY_ROWS})

    def __post_init__(self) -> None:
        require("gamma", self.gamma, self.gamma > 0, "a number above 0")

    def policy_loss(self, rows: LossRows, **clip: Any) -> core.PolicyLoss:
        return core.luffy_loss(
            rows.log_probs,
            rows.old_log_probs,
            rows.advantages,
            rows.response_mask,
            rows.on_policy,
            self.gamma,
            **clip,
        )
