"""Images of all formats and modes in data sets: converted correctly, or an error with file, row and field."""

from __future__ import annotations

import inspect
import struct
import zlib
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from qwen_vl_utils import vision_process
from qwen_vl_utils.vision_process import fetch_image

from echorl_vl.data.images import MAX_RATIO, MAX_SOURCE_PIXELS, ProblemImages, image_size, open_image
from echorl_vl.errors import UserError
from echorl_vl.models.qwen2_5_vl import MergedPatches, target_size
from echorl_vl.types import Problem

WHERE = "train.parquet, row 7, images[0]"


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    """``image`` as the bytes of a file."""
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG with a size in its header and almost no data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def images(min_pixels: int, max_pixels: int) -> ProblemImages:
    """ProblemImages for a processor with the patches of Qwen2.5-VL."""
    processor = SimpleNamespace(patch_size=14, merge_size=2, min_pixels=3136, max_pixels=10**6)
    return ProblemImages(MergedPatches(SimpleNamespace(image_processor=processor), min_pixels, max_pixels))


def refused(source, *words) -> str:
    with pytest.raises(UserError) as error:
        open_image(source, WHERE)
    message = str(error.value)
    assert message.startswith(WHERE)
    assert all(word in message for word in words), message
    return message


def test_bytes_paths_and_pil_images_are_decoded_alike(tmp_path, png):
    data = png(color=(10, 200, 30))
    (tmp_path / "a.png").write_bytes(data)
    opened = Image.open(tmp_path / "a.png")
    for source in (data, tmp_path / "a.png", str(tmp_path / "a.png"), opened):
        image = open_image(source, WHERE)
        assert (image.mode, image.size, image.getpixel((3, 4))) == ("RGB", (30, 20), (10, 200, 30))
        assert image_size(source, WHERE) == (30, 20)


def test_a_missing_or_invalid_source_is_named(tmp_path):
    refused(str(tmp_path / "gone.png"), "gone.png does not exist", str(tmp_path))
    refused(str(tmp_path), "is a folder")
    refused("x" * 5000, "does not exist")
    refused(b"", "0 bytes")
    refused(12, "got int")
    refused("https://example.org/a.png", "a URL, which is unsupported")
    refused("data:image/png;base64,aGk=", "a data URI, which is unsupported")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_image_is_an_error_at_any_length(format):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format)
    assert open_image(data, WHERE).size == (40, 40)
    for share in (0.001, 0.02, 0.3, 0.7):
        refused(data[: int(len(data) * share)])


def test_other_files_are_errors(tmp_path):
    refused(b"<html>not found</html>", "22 bytes", "not a readable image")
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1")
    refused(str(tmp_path / "a.png"), "a.png", "not a readable image")
    # Pillow would start another program for PostScript.
    refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "not a readable image")


def test_a_decompression_bomb_is_rejected_before_decoding(monkeypatch):
    Image.init()  # some of Pillow's plugins draw when imported
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    refused(png_header(8192, 8193), str(8192 * 8193), str(MAX_SOURCE_PIXELS))
    # Pillow itself only warns of the next image, and rejects the last.
    refused(png_header(10_000, 10_000), "100000000 pixels")
    refused(png_header(60_000, 60_000), "too large")
    with pytest.raises(UserError, match="100000000 pixels"):
        image_size(png_header(10_000, 10_000), WHERE)


def test_zero_size_and_extreme_ratios_are_errors(png):
    refused(png_header(0, 5))
    refused(Image.new("RGB", (0, 5)), "0 x 5", "no area")
    refused(png(402, 2), "402 x 2", "200 times")
    refused(png(2, 402), "200 times")
    assert open_image(png(400, 2), WHERE).size == (400, 2)


def test_palette_with_and_without_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    opaque = open_image(encoded(image), WHERE)
    assert [opaque.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (0, 0, 255)]
    clear = open_image(encoded(image, transparency=1), WHERE)
    assert [clear.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]
    partly = open_image(encoded(image, transparency=bytes([255, 128])), WHERE)
    assert np.allclose(partly.getpixel((1, 0)), (127, 127, 255), atol=1)


def test_alpha_is_composited_on_white():
    def pixel(image):
        return open_image(encoded(image), WHERE).getpixel((0, 0))

    assert pixel(Image.new("RGBA", (1, 1), (9, 9, 9, 0))) == (255, 255, 255)
    assert pixel(Image.new("RGBA", (1, 1), (9, 8, 7, 255))) == (9, 8, 7)
    assert np.allclose(pixel(Image.new("RGBA", (1, 1), (0, 0, 0, 51))), 204, atol=1)
    assert np.allclose(pixel(Image.new("LA", (1, 1), (0, 51))), 204, atol=1)
    assert open_image(Image.new("RGBa", (1, 1), (0, 0, 0, 0)), WHERE).getpixel((0, 0)) == (255, 255, 255)
    # A colour that the header of an image without alpha declares transparent.
    data = encoded(Image.new("RGB", (1, 1), (0, 0, 0)), transparency=(0, 0, 0))
    assert open_image(data, WHERE).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_and_single_channel_modes():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert open_image(encoded(red, "TIFF"), WHERE).getpixel((0, 0)) == (255, 0, 0)
    assert np.allclose(open_image(encoded(red, "JPEG", quality=95), WHERE).getpixel((4, 4)), (254, 0, 0), atol=3)
    assert open_image(encoded(Image.new("L", (1, 1), 77)), WHERE).getpixel((0, 0)) == (77, 77, 77)
    assert open_image(encoded(Image.new("1", (1, 1), 1)), WHERE).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(Image.new("LAB", (1, 1)), WHERE).mode == "RGB"


def test_16_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    data = encoded(Image.fromarray(values))
    assert Image.open(BytesIO(data)).mode.startswith("I")
    expected = [0, 1, 128, 255]
    for source in (data, encoded(Image.fromarray(values), "TIFF"), Image.fromarray(values.astype(np.int32))):
        assert np.asarray(open_image(source, WHERE))[0].tolist() == [[grey] * 3 for grey in expected]
    refused(Image.fromarray(np.array([[70_000]], np.int32)), "32-bit")
    refused(Image.new("F", (1, 1)), "mode F")


def test_16_bit_grey_with_a_transparent_value():
    header = struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)
    body = zlib.compress(b"\0" + struct.pack(">HH", 1000, 65535 // 3))
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"tRNS", struct.pack(">H", 1000)) + png_chunk(b"IDAT", body)
    image = open_image(b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b""), WHERE)
    assert np.asarray(image)[0].tolist() == [[255] * 3, [85] * 3]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = Image.new("RGB", (16, 8), "white")
    upright.paste((255, 0, 0), (0, 0, 8, 8))  # red on the left
    turns = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    turns |= {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90}
    turns |= {7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}
    stored = upright if orientation == 1 else upright.transpose(turns[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_image(encoded(stored, exif=exif.tobytes()), WHERE)
    assert image.size == (16, 8)
    assert (image.getpixel((1, 4)), image.getpixel((14, 4))) == ((255, 0, 0), (255, 255, 255))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow
def test_broken_exif_is_ignored():
    data = encoded(Image.new("RGB", (16, 8), "red"), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert open_image(data, WHERE).size == (16, 8)


@pytest.mark.parametrize("size", [(112, 112), (300, 200), (1, 1), (1999, 10), (37, 641)])
@pytest.mark.parametrize("limits", [(3136, 200_000), (100_000, 101_000), (262_144, 4_194_304)])
def test_sizes_and_pixels_are_those_of_qwen_vl_utils(size, limits):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    # Supported versions have different names for the argument.
    patch = {"image_patch_size": 14} if "image_patch_size" in inspect.signature(fetch_image).parameters else {}
    expected = fetch_image({"image": image, "min_pixels": limits[0], "max_pixels": limits[1]}, **patch)
    [fitted] = images(*limits).fit(Problem("train.parquet:7", "", "", (image,)))
    assert fitted.size == expected.size == target_size(*size, 28, *limits)
    assert np.array_equal(np.asarray(fitted), np.asarray(expected))
    assert target_size(*size[::-1], 28, *limits) == fitted.size[::-1]


def test_the_largest_ratio_is_that_of_qwen_vl_utils():
    assert MAX_RATIO == vision_process.MAX_RATIO


def test_limits_that_allow_no_size_are_errors():
    with pytest.raises(UserError, match=r"expected data.min_pixels <= data.max_pixels, got 5 and 4"):
        images(5, 4)
    flat = Problem("train.parquet:7", "", "", (Image.new("RGB", (3000, 20)),))
    with pytest.raises(UserError, match=r"row 7.*3000 x 20.*data.max_pixels = 20000"):
        images(784, 20_000).fit(flat)
    with pytest.raises(UserError, match=r"row 7.*3000 x 20.*data.max_pixels = 20000"):
        images(784, 20_000).tokens(flat)
