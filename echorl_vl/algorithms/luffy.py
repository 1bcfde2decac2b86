"""LUFFY (arXiv 2504.14945): a demonstration is one of the group's rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Algorithm, Capability, LossRows, register, require
from .grpo import GRPO, NO_KL

if TYPE_CHECKING:
    from echorl_vl.core import PolicyLoss


@register("luffy")
@dataclass(frozen=True)
class LUFFY(Algorithm):
    """The last of the n rows of a group (`worker.rollout.n`) is the demonstration, with an advantage as the others."""

    gamma: float = 0.1
    """of the shaping f(x) = x / (x + gamma)"""

    preset: ClassVar = GRPO.preset | NO_KL
    needs: ClassVar = frozenset({Capability.OFF_POLICY_ROWS})

    def __post_init__(self) -> None:
        require("gamma", self.gamma, self.gamma > 0, "a number above 0")

    def policy_loss(self, rows: LossRows, **clip: Any) -> PolicyLoss:
        from echorl_vl.core import luffy_loss

        return luffy_loss(
            rows.log_probs,
            rows.old_log_probs,
            rows.advantages,
            rows.response_mask,
            rows.on_policy,
            self.gamma,
            **clip,
        )
