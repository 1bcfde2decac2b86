"""Reasoning steps: the step that each token of a rollout belongs to.

A step is a maximal run of text tokens that ends at a boundary of the splitter. A run without a letter or a digit (white
space, a lone "." or "---") is not a step: it joins the previous step, or the next one at the start of a response. Such
runs contain no reasoning, and a mean over their one or two tokens would often be the highest entropy of the response.
Tokens outside `text_mask` belong to no step (-1) and end none, so an image in the middle of a step does not split it.

Indices start at 0 in each row and never decrease along it; `mining` relies on this.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .splitters import Splitter


@torch.no_grad()
def step_ids(tokens: Tensor, text_mask: Tensor, splitter: Splitter) -> Tensor:
    """Index of the reasoning step of each token.

    Args:
        tokens: (B, T) int64 ids of the responses.
        text_mask: (B, T) bool, tokens that the policy generated, without visual, special and tool tokens.
        splitter: finds the ends of steps, see `make_splitter`.

    Returns:
        (B, T) int64, -1 outside `text_mask`.

    Raises:
        ValueError: the shapes of tokens and text_mask differ.
    """
    if tokens.dim() != 2 or tokens.shape != text_mask.shape:
        shapes = f"{tuple(tokens.shape)} and {tuple(text_mask.shape)}"
        raise ValueError(f"step_ids expected tokens and text_mask of the same shape (B, T), got {shapes}")
    text_mask = text_mask.bool()
    if tokens.numel() == 0:
        return torch.full_like(tokens, -1, dtype=torch.int64)

    ends = splitter.boundaries(tokens, text_mask) & text_mask
    return _merge_wordless_runs(ends, splitter.word(tokens, text_mask)).masked_fill_(~text_mask, -1)


def _merge_wordless_runs(ends: Tensor, word: Tensor) -> Tensor:
    """Number the runs that `ends` cuts each row into; a run without a token in `word` takes the previous number.

    Works on the flattened batch, cut at every end of a step and of a row, so that no run spans two rows.
    """
    rows, length = ends.shape
    cuts = ends.clone()
    cuts[:, -1] = True
    last = cuts.flatten().nonzero().squeeze(1)  # flat position of each run's last token
    run_length = torch.diff(last, prepend=last.new_tensor([-1]))

    words_so_far = word.flatten().cumsum(0, dtype=torch.int32)[last]
    is_step = torch.diff(words_so_far, prepend=words_so_far.new_zeros(1)) > 0
    steps_so_far = is_step.cumsum(0)

    closes_row = (last + 1) % length == 0
    steps_at_row_start = torch.cat([steps_so_far.new_zeros(1), steps_so_far[closes_row][:-1]])
    number = (steps_so_far - steps_at_row_start[last // length] - 1).clamp_(min=0)
    return number.repeat_interleave(run_length, output_size=rows * length).view(rows, length)
