"""GRPO (arXiv 2402.03300): rewards relative to the group, and PPO's clip."""

from __future__ import annotations

from typing import ClassVar

from .base import Algorithm, register

NO_KL = {"algorithm.disable_kl": True}
"""For the algorithms that came after GRPO, which have no reference policy."""


@register("grpo")
class GRPO(Algorithm):
    """Group-relative policy optimisation. Naming it changes nothing: it is the default, with the clip of the file."""

    # No clip: a file without a name trains GRPO too, with EasyR1's clip, and naming what it trains must not alter it.
    preset: ClassVar = {
        "algorithm.adv_estimator": "grpo",
        "algorithm.online_filtering": False,
        "algorithm.dynamic_sampling": "resample",
        "algorithm.keep_all_success_groups": None,
    }
