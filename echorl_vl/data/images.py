"""Images: from whatever a data set holds to RGB images of the sizes that a model's processor gets."""

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
"""A larger image is refused from its header, before any of it is decoded: decoded, it would take 200 MB and more."""
MAX_RATIO = 200
"""Of the sides of an image: that of qwen-vl-utils."""
MAX_SHEET_SIDE = 1024  # pixels

# Pillow also reads formats that start other programs (EPS) or that any bytes pass for (TGA); a data set needs neither.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


class ImageError(UserError):
    """An image can't be used; ``reason`` says why without naming it."""

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where}: {reason}")
        self.reason = reason


def open_image(source: ImageSource, where: str) -> Image.Image:
    """Decode ``source`` into an upright 8-bit RGB image.

    ``source`` is a PIL image, the bytes of a file or a path. Transparency is composited on white, 16-bit grey is scaled
    to 8 bits, EXIF orientation applied. Raises ImageError, opening with ``where``, for an image that is missing,
    damaged, empty, larger than `MAX_SOURCE_PIXELS` or longer than `MAX_RATIO` times its width.
    """
    image = _open(source, where)
    _check_size(image.size, where)
    try:
        image.load()
    except Exception as error:  # what a decoder raises on damaged data differs from format to format
        raise ImageError(where, f"the picture can't be decoded: {_reason(error)}") from error
    return _to_rgb(_upright(image), where)


def image_size(source: ImageSource, where: str) -> tuple[int, int]:
    """(width, height) in pixels as the header has them, before EXIF orientation; decodes nothing.

    Raises ImageError as `open_image` does, but can't see damage behind the header.
    """
    size = _open(source, where).size
    _check_size(size, where)
    return size


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """Decoded images as one, at most `MAX_SHEET_SIDE` pixels long: what a person looks at."""
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
    """Images of problems as one model's processor gets them. A UserError about one becomes a RowError."""

    def __init__(self, processing: ImageProcessing) -> None:
        self.processing = processing

    def open(self, problem: Problem) -> list[Image.Image]:
        """The problem's images, decoded. Raises RowError for one that can't be."""
        return _each(problem, problem.images, open_image)

    def fit(self, problem: Problem, opened: Sequence[Image.Image] | None = None) -> list[Image.Image]:
        """The problem's images (`open`ed, if they are not given) in the size that the model sees.

        Resampled as qwen-vl-utils' `fetch_image` does (bicubic). Raises RowError for one that can't be.
        """

        def resize(image: Image.Image, where: str) -> Image.Image:
            size = self.processing.size(*image.size)
            return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)

        return _each(problem, self.open(problem) if opened is None else opened, resize)

    def tokens(self, problem: Problem) -> int:
        """Tokens of the problem's images, worked out from their headers without decoding them.

        EXIF may still turn an image by 90 degrees; swapping the sides doesn't change the number of tokens.
        """

        def count(image: ImageSource, where: str) -> int:
            return self.processing.tokens(*self.processing.size(*image_size(image, where)))

        return sum(_each(problem, problem.images, count))


def _each(problem: Problem, images: Sequence[T], action: Callable[[T, str], R]) -> list[R]:
    """``action(image, name for messages)`` of each image; a UserError becomes one of the problem's row."""
    results = []
    for slot, image in enumerate(images):
        field = f"{problem.keys.image}[{slot}]"
        try:
            results.append(action(image, f"{problem.where}, {field}"))
        except UserError as error:
            raise RowError(problem, field, error.reason if isinstance(error, ImageError) else str(error)) from error
    return results


def _open(source: Any, where: str) -> Image.Image:
    """The image, not yet decoded (a PIL image may be)."""
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, bytes | bytearray):
        if not source:
            raise ImageError(where, "the picture is empty (0 bytes)")
        return _read_header(BytesIO(source), where, "the picture")
    if not isinstance(source, str | Path):
        raise ImageError(where, f"a picture is bytes, a path or a PIL picture; found {type(source).__name__}")
    if is_url(str(source)):
        raise ImageError(where, unsupported_url(str(source), "save the picture to a file and give its path"))
    path = Path(source)
    if not os.path.isfile(path):  # unlike Path.is_file, False for names that no file system takes
        kind = "is a folder" if os.path.isdir(path) else "does not exist"
        raise ImageError(where, f"picture file {shorten(str(path))} {kind}")
    return _read_header(path, where, f"picture file {path}")


@cache
def _formats() -> tuple[str, ...]:
    """Formats to read of those that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _read_header(file: BytesIO | Path, where: str, name: str) -> Image.Image:
    formats = _formats()
    try:
        with warnings.catch_warnings():
            # Pillow only warns from a size on; the limit here is `_check_size`, which always raises.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageError(where, f"{name} is too large: {_reason(error)}") from error
    except Exception as error:  # Pillow's plugins let several kinds through on crafted headers
        size = file.getbuffer().nbytes if isinstance(file, BytesIO) else file.stat().st_size
        reason = f"{name} ({size} bytes) is not a picture that can be read ({', '.join(formats)}): {_reason(error)}"
        raise ImageError(where, reason) from error


def _check_size(size: tuple[int, int], where: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(where, f"the picture is {width} x {height} pixels: it has no area")
    if width * height > MAX_SOURCE_PIXELS:
        raise ImageError(
            where,
            f"the picture is {width} x {height} = {width * height} pixels; at most {MAX_SOURCE_PIXELS} are "
            "decoded: save it smaller",
        )
    if max(size) > MAX_RATIO * min(size):
        raise ImageError(
            where,
            f"the picture is {width} x {height} pixels; the longer side may be at most {MAX_RATIO} times the "
            "shorter one",
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF data says nothing about orientation, and the pixels are sound
        return image


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode in _SIXTEEN_BITS or image.mode == "I":
        return _grey16_to_rgb(image, where)
    if image.mode == "F":
        raise ImageError(
            where,
            "the picture has floating-point pixels (mode F), which don't say what is white: save it with 8 or 16 bits",
        )
    if image.mode in ("La", "RGBa"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return _on_white(rgba.convert("RGB"), rgba.getchannel("A"))
    return image.convert("RGB")


def _grey16_to_rgb(image: Image.Image, where: str) -> Image.Image:
    """16-bit grey scaled so that 65535 becomes 255 (`convert` would clip at 255 and leave the image white)."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            where,
            f"the picture has 32-bit pixels from {values.min()} to {values.max()}, which don't say what is "
            "white: save it with 8 or 16 bits",
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
