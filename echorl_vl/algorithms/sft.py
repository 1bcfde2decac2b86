"""Supervised fine-tuning on demonstrations: no rollout is sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .base import Algorithm, Capability, LossRows, register

if TYPE_CHECKING:
    from echorl_vl.core import PolicyLoss


@register("sft")
class SFT(Algorithm):
    """The mean NLL of the demonstrations' tokens. Nothing is verified, so there is nothing to echo."""

    preset: ClassVar = {
        "echo.coef": 0.0,
        "algorithm.online_filtering": False,
        "algorithm.dynamic_sampling": "resample",
        "algorithm.keep_all_success_groups": None,
        "algorithm.disable_kl": True,
        "worker.actor.entropy_coef": 0.0,
    }
    needs: ClassVar = frozenset({Capability.NO_ROLLOUTS})

    def policy_loss(self, rows: LossRows, **clip: Any) -> PolicyLoss:
        from echorl_vl.core import sft_loss

        return sft_loss(rows.log_probs, rows.response_mask)
