"""How responses are drawn, with the fields of vLLM's SamplingParams that EasyR1 sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SamplingParams:
    """Defaults are vLLM's."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    seed: int | None = None
    max_tokens: int = 16
    ignore_eos: bool = False
    detokenize: bool = True
    logit_bias: dict[int, float] | None = None
