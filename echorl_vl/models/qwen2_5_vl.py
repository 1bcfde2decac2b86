"""Qwen2.5-VL and Qwen2-VL.

The image processor cuts an image into patches, and the vision tower merges squares of patches into one feature. Images
keep their aspect ratio, so each has its own grid of patches (time, height, width).

Rotary positions have three axes (time, height, width). A text token advances all three by one. The tokens of an image
start from the same position and add their row and column in the merged grid; the next token follows the larger of the
grid's height and width. Source: Qwen2-VL (arXiv 2409.12191), section 2.1; equal to `get_rope_index` of transformers'
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
    """Images of any shape, cut into patches; `merge_size` x `merge_size` patches become one token.

    Raises:
        UserError: min_pixels exceeds max_pixels.
    """

    description = "cuts images into merged patches, as in Qwen-VL"

    def __init__(self, processor: Any, min_pixels: int | None = None, max_pixels: int | None = None) -> None:
        super().__init__(processor)
        self.patch_size, self.merge_size = self.image_processor.patch_size, self.image_processor.merge_size
        low, high = self._own_limits()
        self.min_pixels = low if min_pixels is None else min_pixels
        self.max_pixels = high if max_pixels is None else max_pixels
        if self.min_pixels > self.max_pixels:
            raise UserError(
                f"expected {setting('data.min_pixels')} <= {setting('data.max_pixels')}, got {self.min_pixels} and "
                f"{self.max_pixels} (the default is the limit of the model's processor)"
            )

    @classmethod
    def supports(cls, processor: Any) -> bool:
        images = getattr(processor, "image_processor", None)
        return hasattr(images, "patch_size") and hasattr(images, "merge_size")

    def size(self, width: int, height: int) -> tuple[int, int]:
        return target_size(width, height, self.patch_size * self.merge_size, self.min_pixels, self.max_pixels)

    def tokens(self, width: int, height: int) -> int:
        return width * height // (self.patch_size * self.merge_size) ** 2

    def encode(self, images: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        """Encode resized images. Raises UserError if the grids don't match the sizes, which determine the tokens."""
        # The images are resized already; resizing by the processor's limits would override the configured ones.
        encoded = self.image_processor(images=list(images), return_tensors="pt", do_resize=False)
        grids = [[1, image.height // self.patch_size, image.width // self.patch_size] for image in images]
        if encoded["image_grid_thw"].tolist() != grids:
            raise UserError(
                f"{type(self.image_processor).__name__}: expected grids {grids} for images of "
                f"{[image.size for image in images]} pixels, got {encoded['image_grid_thw'].tolist()}"
            )
        return encoded["pixel_values"].float(), encoded["image_grid_thw"].long()

    def _own_limits(self) -> tuple[int, int]:
        """(min_pixels, max_pixels) of the processor: attributes in transformers 4, `size` in transformers 5."""
        size = getattr(self.image_processor, "size", None) or {}
        low = getattr(self.image_processor, "min_pixels", None) or size["shortest_edge"]
        high = getattr(self.image_processor, "max_pixels", None) or size["longest_edge"]
        return int(low), int(high)


@register
class Qwen2_5_VL(ModelFamily):
    """Qwen2.5-VL and Qwen2-VL."""

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
    """Return the (width, height) of a resized image by qwen-vl-utils' `smart_resize`.

    Both are multiples of `factor` (patch size x merge size) pixels. Swapping width and height swaps the result.

    Raises:
        UserError: a side of the resized image is shorter than `factor`.
    """
    from qwen_vl_utils.vision_process import smart_resize  # imports torchvision, which text runs do not need

    new_height, new_width = smart_resize(height, width, factor, min_pixels, max_pixels)
    if new_height < factor or new_width < factor:
        raise UserError(
            f"an image of {width} x {height} pixels is {new_width} x {new_height} when resized to "
            f"{setting('data.max_pixels')} = {max_pixels}; expected sides of at least {factor} pixels: raise the limit "
            "or crop the image"
        )
    return new_width, new_height


def mrope_positions(
    input_ids: Tensor, image_grid_thw: Tensor | None, image_pad: int | None, merge_size: int
) -> tuple[Tensor, int]:
    """Compute the positions of a prompt, and the position of the next token.

    Args:
        input_ids: (L,) int64.
        image_grid_thw: (images, 3) int64, patches of each image along time, height and width; None without images.
        image_pad: id of the image token, one per merged patch; None for a text-only model.
        merge_size: number of patches along each edge that are merged into one token.

    Returns:
        positions (3, L) int64 and the next position.

    Raises:
        UserError: the number of image tokens differs from the number of merged patches.
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
            f"expected {expected} image tokens in the prompt, one per feature of its {len(counts)} image(s), got "
            f"{found}; the prompt may be truncated, or the images resized differently from the text"
        )

    # Only the last token of an image advances, by the longer edge, so that all its tokens have the same start.
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
