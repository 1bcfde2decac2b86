"""ReLIFT (arXiv 2506.07527): reinforcement learning interleaved with fine-tuning on the prompts that it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Algorithm, Capability, register, require
from .grpo import GRPO, NO_KL


@register("relift")
@dataclass(frozen=True)
class ReLIFT(Algorithm):
    """GRPO; prompts whose rollouts all fail fill a buffer, and a full buffer triggers an SFT step on demonstrations."""

    buffer: int = 128
    """prompts in the buffer that trigger an SFT step"""

    preset: ClassVar = GRPO.preset | NO_KL
    needs: ClassVar = frozenset({Capability.SFT_STEPS})

    def __post_init__(self) -> None:
        require("buffer", self.buffer, self.buffer >= 1, "a whole number of at least 1")
