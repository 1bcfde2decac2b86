"""Images: from any form in a data set to RGB images in the size for a model's processor."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps

from echorl_vl.data.bad_rows import RowError
from echorl_vl.errors import UserError, shorten
from echorl_vl.models.images import ImageProcessing
from echorl_vl.places import is_url, unsupported_url
from echorl_vl.types import ImageSource, Problem

T, R = TypeVar("T"), TypeVar("R")

MAX_SOURCE_PIXELS = 64 * 1024 * 1024
"""A larger image is rejected by its header, before it is decoded, which would take over 200 MB."""
MAX_RATIO = 200
"""Largest ratio of the sides of an image, as in qwen-vl-utils."""
MAX_SHEET_SIDE = 1024  # pixels

# Without formats that make Pillow start other programs (EPS), and those that accept any bytes (TGA).
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


class ImageError(UserError):
    """An image can't be used. ``reason`` says why, without naming the image."""

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where}: {reason}")
        self.reason = reason


def open_image(source: ImageSource, where: str) -> Image.Image:
    """Decode an image to upright 8-bit RGB.

    Transparency is composited on white, 16-bit grey is scaled to 8 bits, and EXIF orientation is applied.

    Args:
        source: a PIL image, the bytes of a file, or a path.
        where: name of the image, for messages.

    Raises:
        ImageError: the image is missing, damaged, empty, larger than `MAX_SOURCE_PIXELS`, or its longer side is more
            than `MAX_RATIO` times the shorter one.
    """
    image = _open(source, where)
    _check_size(image.size, where)
    try:
        image.load()
    except Exception as error:  # each decoder raises other errors on damaged data
        raise ImageError(where, f"the image can't be decoded: {_reason(error)}") from error
    return _to_rgb(_upright(image), where)


def image_size(source: ImageSource, where: str) -> tuple[int, int]:
    """(width, height) in pixels from the header, before EXIF orientation. Does not decode the image.

    Raises:
        ImageError: as in `open_image`, except for damage after the header.
    """
    size = _open(source, where).size
    _check_size(size, where)
    return size


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """Join decoded images to one of at most `MAX_SHEET_SIDE` pixels a side, to be shown to people."""
    sheet = images[0]
    if len(images) > 1:
        gap = 8
        width = sum(image.width for image in images) + gap * (len(images) - 1)
        sheet = Image.new("RGB", (width, max(image.height for image in images)), "white")
        left = 0
        for image in images:
            sheet.paste(image, (left, 0))
            left += image.width + gap
    if max(sheet.size) > MAX_SHEET_SIDE:
        sheet = sheet.copy()
        sheet.thumbnail((MAX_SHEET_SIDE, MAX_SHEET_SIDE))
    return sheet


class ProblemImages:
    """Prepares the images of problems for one model's processor. Errors are RowErrors."""

    def __init__(self, processing: ImageProcessing) -> None:
        self.processing = processing

    def open(self, problem: Problem) -> list[Image.Image]:
        """Decode the problem's images. Raises RowError for one that can't be used."""
        return _each(problem, problem.images, open_image)

    def fit(self, problem: Problem, opened: Sequence[Image.Image] | None = None) -> list[Image.Image]:
        """Resize the problem's images to the size for the model, bicubic as in qwen-vl-utils' `fetch_image`.

        Args:
            opened: the decoded images, if they are at hand.

        Raises:
            RowError: an image can't be used.
        """

        def resize(image: Image.Image, where: str) -> Image.Image:
            size = self.processing.size(*image.size)
            return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)

        return _each(problem, self.open(problem) if opened is None else opened, resize)

    def tokens(self, problem: Problem) -> int:
        """Number of tokens of the problem's images, from their headers.

        EXIF orientation may swap the sides of an image, which does not change the number of tokens.
        """

        def count(image: ImageSource, where: str) -> int:
            return self.processing.tokens(*self.processing.size(*image_size(image, where)))

        return sum(_each(problem, problem.images, count))


def _each(problem: Problem, images: Sequence[T], action: Callable[[T, str], R]) -> list[R]:
    """Call ``action(image, name for messages)`` on each image, and turn a UserError into a RowError."""
    results = []
    for slot, image in enumerate(images):
        field = f"{problem.keys.image}[{slot}]"
        try:
            results.append(action(image, f"{problem.where}, {field}"))
        except UserError as error:
            raise RowError(problem, field, error.reason if isinstance(error, ImageError) else str(error)) from error
    return results


def _open(source: Any, where: str) -> Image.Image:
    """The image, not decoded yet unless it is a PIL image."""
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, bytes | bytearray):
        if not source:
            raise ImageError(where, "the image is empty (0 bytes)")
        return _read_header(BytesIO(source), where, "the image")
    if not isinstance(source, str | Path):
        raise ImageError(where, f"expected bytes, a path or a PIL image, got {type(source).__name__}")
    if is_url(str(source)):
        raise ImageError(where, unsupported_url(str(source), "save the image to a file and give its path"))
    path = Path(source)
    if not os.path.isfile(path):  # unlike Path.is_file, False for invalid names
        kind = "is a folder" if os.path.isdir(path) else "does not exist"
        raise ImageError(where, f"image file {shorten(str(path))} {kind}")
    return _read_header(path, where, f"image file {path}")


@cache
def _formats() -> tuple[str, ...]:
    """The supported formats that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _read_header(file: BytesIO | Path, where: str, name: str) -> Image.Image:
    formats = _formats()
    try:
        with warnings.catch_warnings():
            # Pillow only warns of large images, `_check_size` rejects them.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageError(where, f"{name} is too large: {_reason(error)}") from error
    except Exception as error:  # Pillow's plugins raise many errors on crafted headers
        size = file.getbuffer().nbytes if isinstance(file, BytesIO) else file.stat().st_size
        reason = f"{name} ({size} bytes) is not a readable image ({', '.join(formats)}): {_reason(error)}"
        raise ImageError(where, reason) from error


def _check_size(size: tuple[int, int], where: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(where, f"the image is {width} x {height} pixels: it has no area")
    if width * height > MAX_SOURCE_PIXELS:
        raise ImageError(
            where,
            f"the image has {width} x {height} = {width * height} pixels; expected at most {MAX_SOURCE_PIXELS}: "
            "resize it",
        )
    if max(size) > MAX_RATIO * min(size):
        raise ImageError(
            where,
            f"the image is {width} x {height} pixels; expected a longer side of at most {MAX_RATIO} times the shorter "
            "one",
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF data, which does not affect the pixels
        return image


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode in _SIXTEEN_BITS or image.mode == "I":
        return _grey16_to_rgb(image, where)
    if image.mode == "F":
        raise ImageError(
            where,
            "the image has floating-point pixels (mode F), so the value of white is unknown: save it with 8 or 16 bits",
        )
    if image.mode in ("La", "RGBa"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return _on_white(rgba.convert("RGB"), rgba.getchannel("A"))
    return image.convert("RGB")


def _grey16_to_rgb(image: Image.Image, where: str) -> Image.Image:
    """Scale 16-bit grey so that 65535 becomes 255. Pillow's `convert` would clip all values above 255 to white."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            where,
            f"the image has 32-bit pixels from {values.min()} to {values.max()}, so the value of white is unknown: "
            "save it with 8 or 16 bits",
        )
    grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
        return _on_white(grey.convert("RGB"), alpha)
    return grey.convert("RGB")


def _on_white(image: Image.Image, alpha: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=alpha)
    return white


def _reason(error: Exception) -> str:
    return shorten(str(error) or type(error).__name__)
