"""UFT's hints: the first pieces of a worked solution, handed to the policy with the prompt, fewer and fewer of them.

UFT (Liu et al., 2025, arXiv 2505.16984) cuts a solution into at most five pieces of whole reasoning steps and keeps the
first k of n pieces, k ~ Binomial(n, p(t)); p falls from 0.95 to 0.05 along a half cosine over the first 300 of 500
steps, and there are no hints afterwards.

Its data sets keep the block with the final answer apart from the solution, so that the policy has to write the answer
even behind a whole hint. A demonstration here is one text, whose last step states the answer: it is in no piece.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def piece_ends(steps: Tensor | Sequence[int], most: int = 5) -> list[int]:
    """Where the pieces of a demonstration end: the hint of k pieces is its first `ends[k - 1]` tokens.

    A piece is made of whole steps, as many as in any other piece or one more. The last step is in none of them.

    Args:
        steps: (L,) int64, the step of each token as in a row of `step_ids`, -1 outside any; or the steps' lengths in
            tokens.
        most: pieces at most; a demonstration of fewer steps has one for each.

    Returns:
        Ascending, in tokens from the start of the demonstration; empty for one of a single step or none.
    """
    if most < 1:
        raise ValueError(f"piece_ends needs most >= 1, got {most}")
    step_ends = (_ends(steps) if isinstance(steps, Tensor) else torch.tensor(steps).cumsum(0).tolist())[:-1]
    pieces = min(most, len(step_ends))
    return [step_ends[round(piece * len(step_ends) / pieces) - 1] for piece in range(1, pieces + 1)]


def _ends(step_ids: Tensor) -> list[int]:
    if step_ids.dim() != 1:
        raise ValueError(f"piece_ends needs the steps of one demonstration, (L,), got {tuple(step_ids.shape)}")
    positions = (step_ids >= 0).nonzero().squeeze(1)
    inside = step_ids[positions]
    is_last = torch.ones_like(inside, dtype=torch.bool)
    is_last[:-1] = inside[1:] != inside[:-1]
    return (positions[is_last] + 1).tolist()


def hint_probability(step: int, start: float = 0.95, end: float = 0.05, anneal_steps: int = 300) -> float:
    """p(t) of UFT: from `start` to `end` along a half cosine over `anneal_steps` training steps, 0 after them.

    `step` counts from 1; p is `start` at 0, which no step has, and `end` at `anneal_steps`.
    """
    if anneal_steps < 1 or step > anneal_steps:
        return 0.0
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * step / anneal_steps))


def draw_pieces(counts: Tensor, probability: float, generator: torch.Generator | None = None) -> Tensor:
    """How many of its pieces each demonstration keeps, ~ Binomial(count, probability).

    Args:
        counts: (P,) number of pieces of each demonstration, 0 for none.
        probability: of each piece, see `hint_probability`.
        generator: makes the draw repeatable; on the device of `counts`.

    Returns:
        (P,) int64, from 0 to `counts`.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"draw_pieces needs a probability from 0 to 1, got {probability}")
    trials = counts.double()
    return torch.binomial(trials, torch.full_like(trials, probability), generator=generator).long()
