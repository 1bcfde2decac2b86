"""GRPO (arXiv 2402.03300): rewards relative to the group, and PPO's clip."""

from __future__ import annotations

from typing import ClassVar

from .base import Algorithm, register

NO_KL = {"algorithm.disable_kl": True}
"""For the algorithms that came after GRPO, which have no reference policy."""


@register("grpo")
class GRPO(Algorithm):
    """Group-relative policy optimisation."""

    settings: ClassVar = {
        "algorithm.adv_estimator": "grpo",
        "algorithm.online_filtering": False,
        "algorithm.dynamic_sampling": "resample",
        "worker.actor.clip_ratio_low": 0.2,
        "worker.actor.clip_ratio_high": 0.2,
    }
