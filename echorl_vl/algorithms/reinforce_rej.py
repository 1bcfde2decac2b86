"""Reinforce-Rej (arXiv 2504.11343): the advantage is the raw reward, and groups of equal rewards are rejected."""

from __future__ import annotations

from typing import ClassVar

from .base import Algorithm, register
from .grpo import GRPO, NO_KL


@register("reinforce_rej")
class ReinforceRej(Algorithm):
    """Advantage r, or 0 in groups whose rewards are all equal."""

    preset: ClassVar = GRPO.preset | NO_KL | {"algorithm.adv_estimator": "reinforce_rej"}
