"""DAPO (arXiv 2503.14476): clip-higher, token mean, overlong penalty, dynamic sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from echorl_vl import core

from .base import Algorithm, register, require
from .grpo import GRPO, NO_KL

if TYPE_CHECKING:
    from torch import Tensor


@register("dapo")
@dataclass(frozen=True)
class DAPO(Algorithm):
    """Clip-higher, token mean, overlong penalty, dynamic sampling.

    DAPO's dynamic sampling drops groups that all succeed; `algorithm.dynamic_sampling: echo` keeps them for the echo
    term.
    """

    overlong_share: float = 0.2
    """share of data.max_response_length over which the overlong penalty grows (DAPO: 4,096 of 20,480 tokens)"""
    overlong_factor: float = 1.0
    """overlong penalty of a response of maximum length; 0 disables it"""

    preset: ClassVar = (
        GRPO.preset
        | NO_KL
        | {
            "algorithm.online_filtering": True,
            "algorithm.filter_key": "accuracy",
            "worker.actor.clip_ratio_low": 0.2,
            "worker.actor.clip_ratio_high": 0.28,
            "worker.actor.loss_avg_mode": "token",
        }
    )

    def __post_init__(self) -> None:
        require("overlong_share", self.overlong_share, 0 < self.overlong_share <= 1, "a number above 0 and at most 1")
        require("overlong_factor", self.overlong_factor, self.overlong_factor >= 0, "a number of at least 0")

    def shape_rewards(self, rewards: Tensor, lengths: Tensor, max_tokens: int) -> Tensor:
        if not self.overlong_factor:
            return rewards
        buffer = max(1, round(self.overlong_share * max_tokens))
        return rewards + core.overlong_penalty(lengths, max_tokens, buffer, self.overlong_factor)
