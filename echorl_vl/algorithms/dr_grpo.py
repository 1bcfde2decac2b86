"""Dr. GRPO (arXiv 2503.20783): no division by the group's standard deviation or by response lengths."""

from __future__ import annotations

from typing import ClassVar

from .base import Algorithm, register
from .grpo import GRPO, NO_KL


@register("dr_grpo")
class DrGRPO(Algorithm):
    """GRPO with advantages r - mean and a constant weight of each token, 1 / (rows x maximum response length)."""

    preset: ClassVar = (
        GRPO.preset
        | NO_KL
        | {
            "algorithm.norm_adv_by_std_in_grpo": False,
            "worker.actor.loss_avg_mode": "constant",
        }
    )
