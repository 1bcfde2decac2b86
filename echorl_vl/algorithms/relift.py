"""ReLIFT (arXiv 2506.07527): reinforcement learning, with fine-tuning on what it fails at in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Algorithm, Capability, register, require
from .grpo import GRPO, NO_KL


@register("relift")
@dataclass(frozen=True)
class ReLIFT(Algorithm):
    """Prompts whose rollouts all fail go to a buffer; a full one makes an SFT step on their demonstrations."""

    buffer: int = 128
    """prompts in the buffer that make an SFT step"""

    preset: ClassVar = GRPO.preset | NO_KL
    needs: ClassVar = frozenset({Capability.SFT_STEPS})

    def __post_init__(self) -> None:
        require("buffer", self.buffer, self.buffer >= 1, "a whole number of at least 1")
