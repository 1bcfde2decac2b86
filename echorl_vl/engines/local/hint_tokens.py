"""Where the hint tokens of a micro-batch's prompts are, and how much each of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class HintTokens:
    """H of them; all (H,).

    prompt: which prompt. place: position in it. row: a row of the micro-batch that has this prompt. labels: token ids.
    weights: the prompt's rows in this micro-batch over all its rows.
    """

    prompt: Tensor
    place: Tensor
    row: Tensor
    labels: Tensor
    weights: Tensor

    @classmethod
    def from_prompts(cls, prompts: Sequence, prompt_index: Tensor, group_sizes: Tensor) -> HintTokens:
        """Those of a micro-batch.

        Args:
            prompts: P prompts (input_ids, hint_tokens). prompt_index: (b,) prompt of each row. group_sizes: (P,) rows
                of each prompt in the whole batch.
        """
        counts = torch.tensor([prompt.hint_tokens for prompt in prompts], dtype=torch.long)
        prompt = torch.arange(len(prompts)).repeat_interleave(counts)
        places = [torch.arange(len(p.input_ids) - p.hint_tokens, len(p.input_ids)) for p in prompts]
        labels = [p.input_ids[len(p.input_ids) - p.hint_tokens :] for p in prompts]
        first_row = torch.full((len(prompts),), len(prompt_index)).scatter_reduce(
            0, prompt_index, torch.arange(len(prompt_index)), "amin"
        )
        share = prompt_index.bincount(minlength=len(prompts)) / group_sizes
        return cls(prompt, torch.cat(places), first_row[prompt], torch.cat(labels).cpu(), share[prompt])
