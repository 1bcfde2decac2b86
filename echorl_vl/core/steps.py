"""Reasoning steps: which step each token of a rollout belongs to.

A step is a maximal run of text tokens that ends with a token that the splitter names. A run without a letter or a digit
(white space, a lone "." or "---") is no step: it joins the step before it, and the first one joins the next. Such a run
holds no reasoning, and as a mean over one or two tokens it would often be the least certain one. Tokens outside
`text_mask` are in no step (-1) and end none, so the step around an image in the middle of a response is one step.

Indices count from 0 in each row and never fall along it; `mining` relies on that.
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
        text_mask: (B, T) bool: what the policy wrote, less visual, special and tool tokens.
        splitter: says where steps end (`make_splitter`).

    Returns:
        (B, T) int64, -1 outside `text_mask`.
    """
    if tokens.dim() != 2 or tokens.shape != text_mask.shape:
        shapes = f"{tuple(tokens.shape)} and {tuple(text_mask.shape)}"
        raise ValueError(f"step_ids needs tokens and text_mask of one shape (B, T), got {shapes}")
    text_mask = text_mask.bool()
    if tokens.numel() == 0:
        return torch.full_like(tokens, -1, dtype=torch.int64)

    ends = splitter.boundaries(tokens, text_mask) & text_mask
    return _merge_wordless_runs(ends, splitter.word(tokens, text_mask)).masked_fill_(~text_mask, -1)


def _merge_wordless_runs(ends: Tensor, word: Tensor) -> Tensor:
    """Number the runs that `ends` cuts each row into; a run without a token of `word` takes the number before it.

    Works on the flattened batch, cut at every end and at the end of every row, so that no run crosses rows.
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
