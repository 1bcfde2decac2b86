"""Pictures of a problem as an image processor takes them: their sizes, their tokens, and a check of what it made."""

from __future__ import annotations

from typing import Any

from PIL import Image

from echorl_vl.data.images import fit_image, image_size, open_image, target_size
from echorl_vl.data.problem import Problem
from echorl_vl.errors import UserError


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
                "Qwen-VL's do; the embedded engine reads pictures with those only"
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
        pictures = []
        for slot, image in enumerate(problem.images):
            where = _picture_name(problem, slot)
            pictures.append(fit_image(open_image(image, where), where, self._factor, self.min_pixels, self.max_pixels))
        return pictures

    def tokens(self, problem: Problem) -> int:
        """Image tokens of the problem's pictures, worked out from their headers without decoding them."""
        count = 0
        for slot, image in enumerate(problem.images):
            where = _picture_name(problem, slot)
            # EXIF may still turn the picture by 90 degrees; swapping the sides doesn't change the number.
            size = image_size(image, where)
            width, height = target_size(*size, where, self._factor, self.min_pixels, self.max_pixels)
            count += width * height // self._factor**2
        return count

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


def _picture_name(problem: Problem, slot: int) -> str:
    return f"{problem.where}, {problem.keys.image}[{slot}]"


def _own_limits(image_processor: Any) -> tuple[int, int]:
    """(min_pixels, max_pixels) of an image processor: attributes in transformers 4, a size in transformers 5."""
    size = getattr(image_processor, "size", None) or {}
    low = getattr(image_processor, "min_pixels", None) or size["shortest_edge"]
    high = getattr(image_processor, "max_pixels", None) or size["longest_edge"]
    return int(low), int(high)
