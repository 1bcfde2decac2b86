"""Dr. GRPO (arXiv 2503.20783): neither the group's standard deviation nor a response's length divides anything."""

from __future__ import annotations

from typing import ClassVar

from .base import Algorithm, register
from .grpo import GRPO, NO_KL


@register("dr_grpo")
class DrGRPO(Algorithm):
    """GRPO without its two biases: advantages r - mean, and every token weighs 1 / (rows x longest response)."""

    preset: ClassVar = (
        GRPO.preset
        | NO_KL
        | {
            "algorithm.norm_adv_by_std_in_grpo": False,
            "worker.actor.loss_avg_mode": "constant",
        }
    )
