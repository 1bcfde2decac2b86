"""Reinforce-Rej (arXiv 2504.11343): the raw reward is the advantage, and uniform groups are rejected."""

from __future__ import annotations

from typing import ClassVar

from .base import Algorithm, register
from .grpo import GRPO, NO_KL


@register("reinforce_rej")
class ReinforceRej(Algorithm):
    """Advantage r, but 0 in groups that are all correct or all incorrect."""

    preset: ClassVar = GRPO.preset | NO_KL | {"algorithm.adv_estimator": "reinforce_rej"}
