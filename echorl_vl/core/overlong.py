"""DAPO's soft penalty of overlong responses (arXiv 2503.14476, equation 13).

With L the longest response and C the last tokens of it, a response of l tokens has its reward changed by

    0                     l <= L - C
    ((L - C) - l) / C     L - C < l <= L
    -1                    L < l

times a factor: no step in the reward where a response is cut off, but a slope before it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def overlong_penalty(lengths: Tensor, max_tokens: int, buffer: int, factor: float = 1.0) -> Tensor:
    """(B,) float32, 0 or negative: what is added to the rewards of responses of `lengths` (B,) tokens.

    Args:
        max_tokens: L, the longest response. buffer: C, tokens over which the penalty grows to `factor`.

    Raises:
        ValueError: the buffer is not between 1 and max_tokens.
    """
    if not 1 <= buffer <= max_tokens:
        raise ValueError(f"overlong_penalty needs a buffer of 1 to {max_tokens} tokens (max_tokens), found {buffer}")
    over = lengths.float() - (max_tokens - buffer)
    return -factor * torch.clamp(over / buffer, 0.0, 1.0)
