"""Supervised fine-tuning on demonstrations, without rollouts."""

from __future__ import annotations

from typing import Any, ClassVar

from echorl_vl import core

from .base import Algorithm, Capability, LossRows, register


@register("sft")
class SFT(Algorithm):
    """Mean NLL of the tokens of demonstrations, without rollouts or an echo term."""

    preset: ClassVar = {
        "echo.coef": 0.0,
        "algorithm.online_filtering": False,
        "algorithm.dynamic_sampling": "resample",
        "algorithm.keep_all_success_groups": None,
        "algorithm.disable_kl": True,
        "worker.actor.entropy_coef": 0.0,
    }
    needs: ClassVar = frozenset({Capability.NO_ROLLOUTS})

    def policy_loss(self, rows: LossRows, **clip: Any) -> core.PolicyLoss:
        return core.sft_loss(rows.log_probs, rows.response_mask)
