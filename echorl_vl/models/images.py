"""Images as a model takes them: how a processor encodes them, and the distinct ones among the prompts of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from echorl_vl.types import Prompt

if TYPE_CHECKING:
    from PIL import Image


class ImageProcessing:
    """How one processor makes tokens of images; sizes and counts are known before an image is decoded.

    Attributes:
        does: what sort of processor it knows, in words that follow "one that".
        min_pixels, max_pixels: bounds of an image when the processor gets it; None where there is none.
    """

    does: ClassVar[str]
    min_pixels: int | None = None
    max_pixels: int | None = None

    def __init__(self, processor: Any, min_pixels: int | None = None, max_pixels: int | None = None) -> None:
        self.image_processor = processor.image_processor

    @classmethod
    def takes(cls, processor: Any) -> bool:
        """Whether this class knows the processor."""
        raise NotImplementedError

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that an image is resized to before the processor gets it. Raises UserError if it can't be."""
        return width, height

    def tokens(self, width: int, height: int) -> int:
        """Tokens in the prompt of an image that has been resized to this `size`."""
        raise NotImplementedError

    def expand(self, ids: Tensor, image_id: int, images: Sequence[Image.Image]) -> Tensor:
        """(L,) ids of a prompt in which one token stands for each image -> with all of their tokens."""
        counts = torch.ones_like(ids)
        counts[ids == image_id] = torch.tensor([self.tokens(*image.size) for image in images])
        return ids.repeat_interleave(counts)

    def encode(self, images: Sequence[Image.Image]) -> tuple[Tensor, Tensor | None]:
        """`pixel_values` and `image_grid_thw` (None where the family has none) of a prompt's images, resized before."""
        return self.image_processor(images=list(images), return_tensors="pt")["pixel_values"].float(), None


class EncodedImage(NamedTuple):
    """One image as its processor made it: pixel_values, and grid_thw (3,) where the family has grids."""

    pixel_values: Tensor
    grid_thw: Tensor | None = None


class DistinctImages(NamedTuple):
    """images: each once. prompt_index: for each prompt the indices of its images, in the order of its text."""

    images: list[EncodedImage]
    prompt_index: list[list[int]]


def distinct_images(prompts: Sequence[Prompt], split: Callable[[Prompt], list[EncodedImage]]) -> DistinctImages:
    """The images of `prompts`, each once, so that the vision tower sees it once; `split` gives those of one prompt.

    Two images are one if their pixel values are equal, whatever prompt, problem or object they come from.
    """
    chosen: list[EncodedImage] = []
    buckets: dict[tuple, list[int]] = {}
    seen: dict[int, list[int]] = {}  # a Prompt object that comes twice is not compared again
    prompt_index = []
    for prompt in prompts:
        if id(prompt) not in seen:
            seen[id(prompt)] = [_index(image, chosen, buckets) for image in split(prompt)]
        prompt_index.append(seen[id(prompt)])
    return DistinctImages(chosen, prompt_index)


def _index(image: EncodedImage, chosen: list[EncodedImage], buckets: dict[tuple, list[int]]) -> int:
    """Index of an equal image in `chosen`, which gets this one if there is none."""
    grid = () if image.grid_thw is None else tuple(image.grid_thw.tolist())
    key = (*image.pixel_values.shape, *grid, float(image.pixel_values.sum()))
    for index in buckets.setdefault(key, []):
        if torch.equal(chosen[index].pixel_values, image.pixel_values):
            return index
    buckets[key].append(len(chosen))
    chosen.append(image)
    return len(chosen) - 1
