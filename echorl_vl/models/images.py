"""The distinct pictures among a set of prompts, so that the vision tower sees each of them once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pictures:
    """Distinct pictures and where each prompt's pictures are among them.

    pixel_values: (patches, dim) of the distinct pictures, one after the other.
    grid_thw: (pictures, 3) int64.
    prompt_index: for each prompt the indices of its pictures, in the order of its text.
    """

    pixel_values: Tensor
    grid_thw: Tensor
    prompt_index: list[list[int]]

    def __len__(self) -> int:
        return len(self.grid_thw)


def distinct_pictures(prompts: list) -> Pictures | None:
    """Collects the pictures of `prompts` (fields pixel_values, image_grid_thw); None if no prompt has one.

    Two pictures are one if their patches are equal, whatever prompt, problem or object they come from.
    """
    chosen: list[tuple[Tensor, Tensor]] = []
    buckets: dict[tuple, list[int]] = {}
    seen: dict[int, list[int]] = {}  # a Prompt object that comes twice is not compared again
    prompt_index = []
    for prompt in prompts:
        if id(prompt) not in seen:
            seen[id(prompt)] = [_place(p, g, chosen, buckets) for p, g in _split(prompt)]
        prompt_index.append(seen[id(prompt)])
    if not chosen:
        return None
    return Pictures(torch.cat([p for p, _ in chosen]), torch.stack([g for _, g in chosen]), prompt_index)


def _split(prompt) -> list[tuple[Tensor, Tensor]]:
    """(patches, grid) of each picture of a prompt."""
    if prompt.pixel_values is None or prompt.image_grid_thw is None:
        return []
    sizes = prompt.image_grid_thw.prod(-1).tolist()
    return list(zip(prompt.pixel_values.split(sizes), prompt.image_grid_thw, strict=True))


def _place(patches: Tensor, grid: Tensor, chosen: list, buckets: dict) -> int:
    """Index of an equal picture in `chosen`, which gets this one if there is none."""
    key = (*grid.tolist(), float(patches.sum()))
    for index in buckets.setdefault(key, []):
        if torch.equal(chosen[index][0], patches):
            return index
    buckets[key].append(len(chosen))
    chosen.append((patches, grid))
    return len(chosen) - 1
