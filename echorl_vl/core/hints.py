"""Hints of UFT: the first pieces of a demonstration are appended to the prompt, fewer of them as training proceeds.

UFT (Liu et al., 2025, arXiv 2505.16984) cuts a solution into at most five pieces of whole reasoning steps and keeps the
first k of n pieces, k ~ Binomial(n, p(t)). p falls from 0.95 to 0.05 along a half cosine over the first 300 of 500
training steps; after that there are no hints.

The data sets of UFT store the final answer separately from the solution, so the policy has to generate the answer even
after a complete hint. Here a demonstration is one text whose last step states the answer, so no piece includes the last
step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def piece_ends(steps: Tensor | Sequence[int], most: int = 5) -> list[int]:
    """Return the ends of a demonstration's pieces: a hint of k pieces is its first `ends[k - 1]` tokens.

    Pieces consist of whole steps, and their numbers of steps differ by at most 1. They do not include the last step.

    Args:
        steps: (L,) int64, the step of each token (a row of `step_ids`), -1 outside of steps; or the length of each step
            in tokens.
        most: maximum number of pieces; with fewer steps, each step is a piece.

    Returns:
        Ascending positions in tokens; empty if the demonstration has fewer than two steps.

    Raises:
        ValueError: `most` is below 1, or `steps` is a tensor of another shape.
    """
    if most < 1:
        raise ValueError(f"piece_ends expected most >= 1, got {most}")
    step_ends = (_ends(steps) if isinstance(steps, Tensor) else torch.tensor(steps).cumsum(0).tolist())[:-1]
    pieces = min(most, len(step_ends))
    return [step_ends[round(piece * len(step_ends) / pieces) - 1] for piece in range(1, pieces + 1)]


def _ends(step_ids: Tensor) -> list[int]:
    if step_ids.dim() != 1:
        raise ValueError(f"piece_ends expected the steps of one demonstration, (L,), got {tuple(step_ids.shape)}")
    positions = (step_ids >= 0).nonzero().squeeze(1)
    inside = step_ids[positions]
    is_last = torch.ones_like(inside, dtype=torch.bool)
    is_last[:-1] = inside[1:] != inside[:-1]
    return (positions[is_last] + 1).tolist()


def hint_probability(step: int, start: float = 0.95, end: float = 0.05, anneal_steps: int = 300) -> float:
    """Return p(t) of UFT: from `start` to `end` along a half cosine over `anneal_steps` training steps, then 0.

    Steps count from 1. p is `start` at step 0, just before the first step, and `end` at step `anneal_steps`.
    """
    if anneal_steps < 1 or step > anneal_steps:
        return 0.0
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * step / anneal_steps))


def draw_pieces(counts: Tensor, probability: float, generator: torch.Generator | None = None) -> Tensor:
    """Sample the number of pieces in the hint of each demonstration, ~ Binomial(count, probability).

    Args:
        counts: (P,) number of pieces of each demonstration.
        probability: probability of each piece, see `hint_probability`.
        generator: random numbers, on the device of `counts`.

    Returns:
        (P,) int64, from 0 to `counts`.

    Raises:
        ValueError: the probability is not between 0 and 1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"draw_pieces expected a probability from 0 to 1, got {probability}")
    trials = counts.double()
    return torch.binomial(trials, torch.full_like(trials, probability), generator=generator).long()
