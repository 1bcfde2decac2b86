"""Multimodal rotary positions of a prompt with pictures.

Text advances all three axes (time, height, width) by one a token. A picture's tokens share the position at which it
begins and differ by their row and column in the merged grid; what follows continues after the larger of the two.
Source: Qwen2-VL (arXiv 2409.12191), section 2.1; equal to `get_rope_index` of transformers' Qwen2_5_VLModel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from echorl_vl.errors import UserError


def mrope_positions(
    input_ids: Tensor, image_grid_thw: Tensor | None, image_pad: int | None, merge_size: int
) -> tuple[Tensor, int]:
    """Positions of one prompt, and the position of the first token that follows it.

    Args:
        input_ids: (L,) int64.
        image_grid_thw: (images, 3) int64, patches of each picture along time, height and width; None without pictures.
        image_pad: id of the token that stands for one merged patch; None for a text-only model.
        merge_size: patches along an edge that are merged into one token.

    Returns:
        positions (3, L) int64 and the next position.

    Raises:
        UserError: the number of image tokens is unlike that of the grid's merged patches.
    """
    device = input_ids.device
    is_image = torch.zeros_like(input_ids, dtype=torch.bool) if image_pad is None else input_ids == image_pad
    grid = torch.zeros(0, 3, dtype=torch.long) if image_grid_thw is None else image_grid_thw
    time, height, width = grid.to(device).unbind(-1)
    height, width = height // merge_size, width // merge_size
    counts = time * height * width
    found, wanted = int(is_image.sum()), int(counts.sum())
    if found != wanted:
        raise UserError(
            f"the prompt has {found} image tokens, its {len(counts)} picture(s) have {wanted} image features: "
            "the two must be equal (is the prompt cut, or the picture sized differently from the text?)"
        )

    # Only a picture's last token advances, by the longer edge; so all its tokens share one start.
    ends = counts.cumsum(0)
    advance = (~is_image).long()
    image_at = is_image.nonzero().squeeze(-1)
    advance[image_at[ends - 1]] = torch.maximum(height, width)
    start = advance.cumsum(0) - advance
    positions = start.repeat(3, 1)

    order = torch.arange(found, device=device)
    picture = torch.searchsorted(ends, order, right=True)
    within = order - (ends - counts)[picture]
    h, w = height[picture], width[picture]
    positions[:, image_at] += torch.stack([within // (h * w), within // w % h, within % w])
    return positions, int(advance.sum())
