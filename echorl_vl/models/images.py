"""Image encoding, and the distinct images among the prompts of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from echorl_vl.types import Prompt

if TYPE_CHECKING:
    from PIL import Image


class ImageProcessing:
    """Image encoding with one type of processor. Sizes and token counts are known before an image is decoded.

    Attributes:
        description: the supported processors; completes "one that ..." in error messages.
        min_pixels: minimum size of a resized image; None: no limit.
        max_pixels: maximum size of a resized image; None: no limit.
    """

    description: ClassVar[str]
    min_pixels: int | None = None
    max_pixels: int | None = None

    def __init__(self, processor: Any, min_pixels: int | None = None, max_pixels: int | None = None) -> None:
        self.image_processor = processor.image_processor

    @classmethod
    def supports(cls, processor: Any) -> bool:
        """Whether this class supports the processor."""
        raise NotImplementedError

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) to resize an image to before the processor encodes it.

        Raises:
            UserError: no size is within the limits.
        """
        return width, height

    def tokens(self, width: int, height: int) -> int:
        """Return the number of prompt tokens of a resized image."""
        raise NotImplementedError

    def expand(self, ids: Tensor, image_id: int, images: Sequence[Image.Image]) -> Tensor:
        """Repeat the one token per image in `ids` (L,) by the number of tokens of that image."""
        counts = torch.ones_like(ids)
        counts[ids == image_id] = torch.tensor([self.tokens(*image.size) for image in images])
        return ids.repeat_interleave(counts)

    def encode(self, images: Sequence[Image.Image]) -> tuple[Tensor, Tensor | None]:
        """Encode resized images to `pixel_values` and `image_grid_thw` (None if the family has no grids)."""
        return self.image_processor(images=list(images), return_tensors="pt")["pixel_values"].float(), None


class EncodedImage(NamedTuple):
    """An encoded image; grid_thw (3,) is None if the family has no grids."""

    pixel_values: Tensor
    grid_thw: Tensor | None = None


class DistinctImages(NamedTuple):
    """Distinct images of several prompts.

    Attributes:
        images: each distinct image once.
        prompt_index: for each prompt, the indices of its images in the order of its text.
    """

    images: list[EncodedImage]
    prompt_index: list[list[int]]


def distinct_images(prompts: Sequence[Prompt], split: Callable[[Prompt], list[EncodedImage]]) -> DistinctImages:
    """Find the distinct images of prompts, so that the vision tower encodes each once.

    Images with equal pixel values count as one, whatever prompt they come from.

    Args:
        prompts: encoded prompts.
        split: returns the images of a prompt (`ModelFamily.split_images`).
    """
    distinct: list[EncodedImage] = []
    buckets: dict[tuple, list[int]] = {}
    indices: dict[int, list[int]] = {}  # by id of the Prompt, so that a repeated Prompt is not compared again
    prompt_index = []
    for prompt in prompts:
        if id(prompt) not in indices:
            indices[id(prompt)] = [_index(image, distinct, buckets) for image in split(prompt)]
        prompt_index.append(indices[id(prompt)])
    return DistinctImages(distinct, prompt_index)


def _index(image: EncodedImage, distinct: list[EncodedImage], buckets: dict[tuple, list[int]]) -> int:
    """Return the index of an equal image in `distinct`; append the image if there is none."""
    grid = () if image.grid_thw is None else tuple(image.grid_thw.tolist())
    key = (*image.pixel_values.shape, *grid, float(image.pixel_values.sum()))
    for index in buckets.setdefault(key, []):
        if torch.equal(distinct[index].pixel_values, image.pixel_values):
            return index
    buckets[key].append(len(distinct))
    distinct.append(image)
    return len(distinct) - 1
