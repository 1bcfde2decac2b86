"""Qwen2.5-VL and Qwen2-VL.

Their image processor cuts an image into patches, and the tower merges squares of them into one feature; an image keeps
its shape, so its tokens are a grid (time, height, width) of its own.

Positions have three axes (time, height, width). Text advances all three by one a token. An image's tokens share the
position at which it begins and differ by their row and column in the merged grid; what follows continues after the
larger of the two. Source: Qwen2-VL (arXiv 2409.12191), section 2.1; equal to `get_rope_index` of transformers'
Qwen2_5_VLModel.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from echorl_vl.errors import UserError, setting
from echorl_vl.models.base import ModelFamily, register
from echorl_vl.models.images import EncodedImage, ImageProcessing
from echorl_vl.types import Prompt

if TYPE_CHECKING:
    from PIL import Image


class MergedPatches(ImageProcessing):
    """Images of any shape, cut into patches of which `merge_size` x `merge_size` become one token.

    Raises UserError for limits that leave no size.
    """

    does = "cuts images into merged patches as Qwen-VL's do"

    def __init__(self, processor: Any, min_pixels: int | None = None, max_pixels: int | None = None) -> None:
        super().__init__(processor)
        self.patch_size, self.merge_size = self.image_processor.patch_size, self.image_processor.merge_size
        low, high = self._own_limits()
        self.min_pixels = low if min_pixels is None else min_pixels
        self.max_pixels = high if max_pixels is None else max_pixels
        if self.min_pixels > self.max_pixels:
            raise UserError(
                f"images of at least {self.min_pixels} pixels ({setting('data.min_pixels')}) and at most "
                f"{self.max_pixels} ({setting('data.max_pixels')}): none is left; where one is unset, the model's "
                "processor gives it"
            )

    @classmethod
    def takes(cls, processor: Any) -> bool:
        images = getattr(processor, "image_processor", None)
        return hasattr(images, "patch_size") and hasattr(images, "merge_size")

    def size(self, width: int, height: int) -> tuple[int, int]:
        return target_size(width, height, self.patch_size * self.merge_size, self.min_pixels, self.max_pixels)

    def tokens(self, width: int, height: int) -> int:
        return width * height // (self.patch_size * self.merge_size) ** 2

    def encode(self, images: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        """Raises UserError if the grids are unlike the sizes, which the number of tokens comes from."""
        # The images have their size: a second resize by the processor's own limits would undo the configured ones.
        encoded = self.image_processor(images=list(images), return_tensors="pt", do_resize=False)
        grids = [[1, image.height // self.patch_size, image.width // self.patch_size] for image in images]
        if encoded["image_grid_thw"].tolist() != grids:
            raise UserError(
                f"images of {[image.size for image in images]} pixels are grids {grids}, but "
                f"{type(self.image_processor).__name__} made {encoded['image_grid_thw'].tolist()}"
            )
        return encoded["pixel_values"].float(), encoded["image_grid_thw"].long()

    def _own_limits(self) -> tuple[int, int]:
        """(min_pixels, max_pixels) of the processor: attributes in transformers 4, a size in transformers 5."""
        size = getattr(self.image_processor, "size", None) or {}
        low = getattr(self.image_processor, "min_pixels", None) or size["shortest_edge"]
        high = getattr(self.image_processor, "max_pixels", None) or size["longest_edge"]
        return int(low), int(high)


@register
class Qwen2_5_VL(ModelFamily):
    """See the module's docstring."""

    model_types = ("qwen2_5_vl", "qwen2_vl")
    image_token = ("image_token_id", "<|image_pad|>")
    other_visual_tokens = (
        ("video_token_id", "<|video_pad|>"),
        ("vision_start_token_id", "<|vision_start|>"),
        ("vision_end_token_id", "<|vision_end|>"),
        (None, "<|vision_pad|>"),
    )
    processing = MergedPatches
    position_axes = 3

    def split_images(self, prompt: Prompt) -> list[EncodedImage]:
        if prompt.pixel_values is None or prompt.image_grid_thw is None:
            return []
        patches = prompt.pixel_values.split(prompt.image_grid_thw.prod(-1).tolist())
        return [EncodedImage(*image) for image in zip(patches, prompt.image_grid_thw, strict=True)]

    def image_features(self, network: Any, images: Sequence[EncodedImage]) -> Sequence[Tensor]:
        device = next(network.parameters()).device
        pixel_values = torch.cat([image.pixel_values for image in images]).to(device)
        out = network.get_image_features(pixel_values, torch.stack([image.grid_thw for image in images]).to(device))
        return getattr(out, "pooler_output", out)  # transformers 5 wraps them, 4.57 doesn't

    def positions(self, network: Any, prompt: Prompt, image_id: int | None) -> tuple[Tensor, int]:
        merge_size = network.config.vision_config.spatial_merge_size
        return mrope_positions(prompt.input_ids, prompt.image_grid_thw, image_id, merge_size)

    def forward_inputs(self, network: Any, ids: Tensor, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        inputs = super().forward_inputs(network, ids, prompts)
        if inputs:
            grids = [prompt.image_grid_thw for prompt in prompts if prompt.pixel_values is not None]
            inputs["image_grid_thw"] = torch.cat(grids)
            if "mm_token_type_ids" in inspect.signature(type(network).forward).parameters:  # transformers 5
                inputs["mm_token_type_ids"] = (ids == network.config.image_token_id).int()
        return inputs


def target_size(width: int, height: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(width, height) that qwen-vl-utils' `smart_resize` gives: multiples of `factor` (patch x merge) pixels.

    Swapping width and height swaps the result. Raises UserError if the limits leave no room for one row of patches.
    """
    from qwen_vl_utils.vision_process import smart_resize  # brings torchvision, which a text run does without

    new_height, new_width = smart_resize(height, width, factor, min_pixels, max_pixels)
    if new_height < factor or new_width < factor:
        raise UserError(
            f"an image of {width} x {height} pixels shrunk to {setting('data.max_pixels')} = {max_pixels} has sides "
            f"of {new_width} x {new_height}, and {factor} is the least: raise that limit or cut the image"
        )
    return new_width, new_height


def mrope_positions(
    input_ids: Tensor, image_grid_thw: Tensor | None, image_pad: int | None, merge_size: int
) -> tuple[Tensor, int]:
    """Positions of one prompt, and the position of the first token that follows it.

    Args:
        input_ids: (L,) int64.
        image_grid_thw: (images, 3) int64, patches of each image along time, height and width; None without images.
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
    found, expected = int(is_image.sum()), int(counts.sum())
    if found != expected:
        raise UserError(
            f"the prompt has {found} image tokens, its {len(counts)} picture(s) have {expected} image features: "
            "the two must be equal (is the prompt cut, or the picture sized differently from the text?)"
        )

    # Only an image's last token advances, by the longer edge; so all its tokens share one start.
    ends = counts.cumsum(0)
    advance = (~is_image).long()
    image_at = is_image.nonzero().squeeze(-1)
    advance[image_at[ends - 1]] = torch.maximum(height, width)
    start = advance.cumsum(0) - advance
    positions = start.repeat(3, 1)

    order = torch.arange(found, device=device)
    image = torch.searchsorted(ends, order, right=True)
    within = order - (ends - counts)[image]
    h, w = height[image], width[image]
    positions[:, image_at] += torch.stack([within // (h * w), within // w % h, within % w])
    return positions, int(advance.sum())
