"""GRPO (arXiv 2402.03300): advantages relative to the group, and PPO's clip."""

from __future__ import annotations

from typing import ClassVar

from .base import Algorithm, register

NO_KL = {"algorithm.disable_kl": True}
"""Preset of the algorithms without a reference policy."""


@register("grpo")
class GRPO(Algorithm):
    """Group-relative policy optimization, the default. It does not set the clip range."""

    # An EasyR1 file without algorithm.name trains GRPO with EasyR1's clip; naming GRPO must not change that.
    preset: ClassVar = {
        "algorithm.adv_estimator": "grpo",
        "algorithm.online_filtering": False,
        "algorithm.dynamic_sampling": "resample",
        "algorithm.keep_all_success_groups": None,
    }
