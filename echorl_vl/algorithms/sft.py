"""Supervised fine-tuning on the experts' traces: no rollout is drawn."""

from __future__ import annotations

from typing import Any, ClassVar

from echorl_vl.core import PolicyLoss, sft_loss

from .base import NO_ROLLOUTS, Algorithm, LossRows, register


@register("sft")
class SFT(Algorithm):
    """The mean NLL of the traces' tokens. Nothing is verified, so there is nothing to echo."""

    settings: ClassVar = {
        "echo.coef": 0.0,
        "algorithm.online_filtering": False,
        "algorithm.dynamic_sampling": "resample",
        "algorithm.disable_kl": True,
        "worker.actor.entropy_coef": 0.0,
    }
    needs: ClassVar = frozenset({NO_ROLLOUTS})

    def policy_loss(self, rows: LossRows, **clip: Any) -> PolicyLoss:
        return sft_loss(rows.log_probs, rows.response_mask)
