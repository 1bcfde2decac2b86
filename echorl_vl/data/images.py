"""Pictures: from whatever a data set holds to an RGB picture of a size that the vision tower takes."""

from __future__ import annotations

import os
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from qwen_vl_utils.vision_process import MAX_RATIO, smart_resize

from echorl_vl.errors import UserError, shorten
from echorl_vl.places import is_url, unsupported_url

MAX_SOURCE_PIXELS = 64 * 1024 * 1024
"""A larger picture is refused from its header, before any of it is decoded: decoded, it would take 200 MB and more."""

# Pillow also reads formats that start other programs (EPS) or that any bytes pass for (TGA); a data set needs neither.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


def open_image(
    source: Any, where: str, image_dir: str | Path | None = None, max_source_pixels: int = MAX_SOURCE_PIXELS
) -> Image.Image:
    """Decode ``source`` into an upright 8-bit RGB picture.

    ``source`` is a PIL picture, the bytes of a file, a path (relative to ``image_dir`` if given) or a dictionary with
    "bytes" or "path". Transparency is composited on white, 16-bit grey is scaled to 8 bits, EXIF orientation applied.
    Raises UserError, opening with ``where``, for a picture that is missing, damaged, empty, larger than
    ``max_source_pixels`` or longer than qwen-vl-utils' MAX_RATIO times its width.
    """
    image = _open(source, where, image_dir)
    _check_size(image.size, where, max_source_pixels)
    try:
        image.load()
    except Exception as error:  # what a decoder raises on damaged data differs from format to format
        raise UserError(f"{where}: the picture can't be decoded: {_reason(error)}") from error
    return _to_rgb(_upright(image), where)


def image_size(
    source: Any, where: str, image_dir: str | Path | None = None, max_source_pixels: int = MAX_SOURCE_PIXELS
) -> tuple[int, int]:
    """(width, height) in pixels as the header has them, before EXIF orientation; decodes nothing.

    Raises UserError as `open_image` does, but can't see damage behind the header.
    """
    size = _open(source, where, image_dir).size
    _check_size(size, where, max_source_pixels)
    return size


def target_size(width: int, height: int, where: str, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(width, height) that qwen-vl-utils' `smart_resize` gives: multiples of ``factor`` (patch x merge) pixels.

    Swapping width and height swaps the result. Raises UserError if the limits leave no room for one row of patches.
    """
    if min_pixels > max_pixels:
        raise UserError(f"data.min_pixels {min_pixels} is above data.max_pixels {max_pixels}")
    new_height, new_width = smart_resize(height, width, factor, min_pixels, max_pixels)
    if new_height < factor or new_width < factor:
        raise UserError(
            f"{where}: a picture of {width} x {height} pixels shrunk to data.max_pixels = {max_pixels} has sides of "
            f"{new_width} x {new_height}, and {factor} is the least: raise data.max_pixels or cut the picture"
        )
    return new_width, new_height


def fit_image(image: Image.Image, where: str, factor: int, min_pixels: int, max_pixels: int) -> Image.Image:
    """``image`` at its `target_size`, resampled as qwen-vl-utils' `fetch_image` does (bicubic)."""
    size = target_size(*image.size, where, factor, min_pixels, max_pixels)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def _open(source: Any, where: str, image_dir: str | Path | None) -> Image.Image:
    """The picture, not yet decoded (a PIL picture may be)."""
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, dict):
        source = source.get("bytes") or source.get("path") or b""
    if isinstance(source, bytes | bytearray):
        if not source:
            raise UserError(f"{where}: the picture is empty (0 bytes)")
        return _read_header(BytesIO(source), f"{where}: the picture")
    if not isinstance(source, str | Path):
        raise UserError(f"{where}: a picture is bytes, a path or a PIL picture; found {type(source).__name__}")
    if is_url(str(source)):
        raise UserError(f"{where}: {unsupported_url(str(source), 'save the picture to a file and give its path')}")
    path = Path(image_dir or ".", source)
    if not os.path.isfile(path):  # unlike Path.is_file, False for names that no file system takes
        kind = "is a folder" if os.path.isdir(path) else "does not exist"
        raise UserError(f"{where}: picture file {shorten(str(path))} {kind} (data.image_dir: {image_dir})")
    return _read_header(path, f"{where}: picture file {path}")


@cache
def _formats() -> tuple[str, ...]:
    """Formats to read of those that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _read_header(file: BytesIO | Path, name: str) -> Image.Image:
    formats = _formats()
    try:
        with warnings.catch_warnings():
            # Pillow only warns from a size on; the limit here is `_check_size`, which always raises.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise UserError(f"{name} is too large: {_reason(error)}") from error
    except Exception as error:  # Pillow's plugins let several kinds through on crafted headers
        size = file.getbuffer().nbytes if isinstance(file, BytesIO) else file.stat().st_size
        raise UserError(
            f"{name} ({size} bytes) is not a picture that can be read ({', '.join(formats)}): {_reason(error)}"
        ) from error


def _check_size(size: tuple[int, int], where: str, max_source_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise UserError(f"{where}: the picture is {width} x {height} pixels: it has no area")
    if width * height > max_source_pixels:
        raise UserError(
            f"{where}: the picture is {width} x {height} = {width * height} pixels; at most {max_source_pixels} are "
            "decoded: save it smaller"
        )
    if max(size) > MAX_RATIO * min(size):
        raise UserError(
            f"{where}: the picture is {width} x {height} pixels; the longer side may be at most {MAX_RATIO} times the "
            "shorter one"
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
        raise UserError(
            f"{where}: the picture has floating-point pixels (mode F), which don't say what is white: "
            "save it with 8 or 16 bits"
        )
    if image.mode in ("La", "RGBa"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return _on_white(rgba.convert("RGB"), rgba.getchannel("A"))
    return image.convert("RGB")


def _grey16_to_rgb(image: Image.Image, where: str) -> Image.Image:
    """16-bit grey scaled so that 65535 becomes 255 (`convert` would clip at 255 and leave the picture white)."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UserError(
            f"{where}: the picture has 32-bit pixels from {values.min()} to {values.max()}, which don't say what is "
            "white: save it with 8 or 16 bits"
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
