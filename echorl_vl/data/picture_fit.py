"""Pictures of a problem as an image processor takes them: their sizes, their tokens, and a check of what it made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from PIL import Image

from echorl_vl.data.bad_rows import RowError
from echorl_vl.data.images import fit_image, image_size, open_image, target_size
from echorl_vl.errors import UserError
from echorl_vl.types import ImageSource, Problem

T = TypeVar("T")


class PictureFit:
    """Fits pictures to one processor (Qwen2-VL kind).

    ``min_pixels`` and ``max_pixels`` bound a picture after resizing; None: the processor's own limits.

    Raises UserError for a processor of another kind, or limits that leave no size.
    """

    def __init__(self, processor: Any, min_pixels: int | None = None, max_pixels: int | None = None):
        images = getattr(processor, "image_processor", None)
        if not hasattr(images, "patch_size") or not hasattr(images, "merge_size"):
            raise UserError(
                f"the model's processor {type(processor).__name__} does not cut pictures into merged patches as "
                "Qwen-VL's do; the local engine reads pictures with those only"
            )
        self.patch_size, self.merge_size = images.patch_size, images.merge_size
        low, high = _own_limits(images)
        self.min_pixels = low if min_pixels is None else min_pixels
        self.max_pixels = high if max_pixels is None else max_pixels
        if self.min_pixels > self.max_pixels:
            raise UserError(
                f"pictures of at least {self.min_pixels} pixels (data.min_pixels) and at most {self.max_pixels} "
                "(data.max_pixels): none is left; where one is unset, the model's processor gives it"
            )

    def fit(self, problem: Problem) -> list[Image.Image]:
        """The problem's pictures, decoded, in the size that the model sees. Raises UserError for one that can't be."""
        limits = self._factor, self.min_pixels, self.max_pixels
        return _each(problem, lambda image, where: fit_image(open_image(image, where), where, *limits))

    def sizes(self, problem: Problem) -> list[tuple[int, int]]:
        """(width, height) in which the model sees each picture, worked out from its header without decoding it.

        EXIF may still turn a picture by 90 degrees; swapping the sides doesn't change the number of tokens.
        """
        limits = self._factor, self.min_pixels, self.max_pixels
        return _each(problem, lambda image, where: target_size(*image_size(image, where), where, *limits))

    def try_decoding(self, problem: Problem) -> None:
        """Decodes each of the problem's pictures once. Raises RowError for one that can't be."""
        _each(problem, open_image)

    def tokens(self, problem: Problem) -> int:
        """Image tokens of the problem's pictures, worked out from their headers."""
        return sum(width * height // self._factor**2 for width, height in self.sizes(problem))

    def check(self, prompt: Any, sizes: list[tuple[int, int]], image_id: int, maker: str) -> None:
        """What the model relies on: grids as `smart_resize` says, one image token for each merged patch."""
        grids = [[1, height // self.patch_size, width // self.patch_size] for width, height in sizes]
        tokens = int((prompt.input_ids == image_id).sum())
        wanted = sum(height * width for _, height, width in grids) // self.merge_size**2
        if prompt.image_grid_thw.tolist() != grids or tokens != wanted:
            raise UserError(
                f"{prompt.problem.where}: pictures of {sizes} pixels are grids {grids} and {wanted} image tokens, but "
                f"{maker} made {prompt.image_grid_thw.tolist()} and {tokens}"
            )

    @property
    def _factor(self) -> int:
        return self.patch_size * self.merge_size


def _each(problem: Problem, action: Callable[[ImageSource, str], T]) -> list[T]:
    """``action(picture, name for messages)`` of each picture; a UserError becomes one of the problem's row."""
    results = []
    for slot, image in enumerate(problem.images):
        field = f"{problem.keys.image}[{slot}]"
        where = f"{problem.where}, {field}"
        try:
            results.append(action(image, where))
        except UserError as error:
            raise RowError(problem, field, str(error).removeprefix(f"{where}: ")) from error
    return results


def _own_limits(image_processor: Any) -> tuple[int, int]:
    """(min_pixels, max_pixels) of an image processor: attributes in transformers 4, a size in transformers 5."""
    size = getattr(image_processor, "size", None) or {}
    low = getattr(image_processor, "min_pixels", None) or size["shortest_edge"]
    high = getattr(image_processor, "max_pixels", None) or size["longest_edge"]
    return int(low), int(high)
