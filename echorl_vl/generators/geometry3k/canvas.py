"""`Canvas`: draws a geometry diagram on a grid of cells, with one character per cell.

The vision tower of Qwen2.5-VL cuts an image into patches of 14 x 14 pixels. Labels snap to a grid of such cells, with
each character at the center of a cell, so that even a very small model can learn to read them. Lines, circles and arcs
are not bound to the grid. Coordinates are in cells, from (0, 0) at the upper left to (CELLS, CELLS) at the lower right.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

CELLS = 8
"""Cells along each side of an image."""

PATCH = 14
"""Pixels along each side of a cell in the smallest image: the patch size of Qwen2.5-VL."""

POSES = 16
"""Number of variants of a diagram in scale and position."""

INK = (20, 30, 60)
LINE = (70, 90, 130)
SUPERSAMPLING = 4

Point = tuple[float, float]


@lru_cache(maxsize=8)
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=pixels)


class Canvas:
    """A white square image of `CELLS` x `CELLS` cells.

    Args:
        size: pixels along each side; a multiple of `CELLS * PATCH` (112, 224, 448, ...).
        mirror: mirror the diagram left to right, except for the characters.
        pose: one of `POSES` variants in scale and position; 0 is the original.

    Raises:
        ValueError: the size is not a positive multiple of `CELLS * PATCH`.
    """

    def __init__(self, size: int = CELLS * PATCH, mirror: bool = False, pose: int = 0) -> None:
        if size <= 0 or size % (CELLS * PATCH):
            raise ValueError(f"size: expected a positive multiple of {CELLS * PATCH}, got {size}")
        self.size = size
        self.mirror = mirror
        # Four scales, each aligned with one of the four corners.
        corner = pose // 4 % 4
        self._scale = 1 - 0.05 * (pose % 4)
        self._shift = tuple((1 - self._scale) * CELLS * side for side in (corner % 2, corner // 2))
        self._cell = size * SUPERSAMPLING / CELLS
        self._image = Image.new("RGB", (size * SUPERSAMPLING,) * 2, "white")
        self._draw = ImageDraw.Draw(self._image)
        self._width = max(1, round(self._cell * 0.09))
        self._labels: list[tuple[int, int, str]] = []
        self._taken: set[tuple[int, int]] = set()

    def _place(self, point: Point) -> Point:
        x, y = (p * self._scale + shift for p, shift in zip(point, self._shift, strict=True))
        return (CELLS - x if self.mirror else x), y

    def _pixel(self, point: Point) -> Point:
        x, y = self._place(point)
        return x * self._cell, y * self._cell

    def line(self, start: Point, end: Point, dashed: bool = False) -> None:
        """Draw a straight line."""
        pieces = 11 if dashed else 1
        for piece in range(0, pieces, 2):
            ends = []
            for share in (piece / pieces, (piece + 1) / pieces):
                ends.append(self._pixel(tuple(a + (b - a) * share for a, b in zip(start, end, strict=True))))
            self._draw.line(ends, fill=LINE, width=self._width)

    def polygon(self, *corners: Point) -> None:
        """Draw the closed outline through `corners`."""
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            self.line(start, end)

    def circle(self, centre: Point, radius: float) -> None:
        """Draw a circle; `radius` is in cells."""
        x, y = self._pixel(centre)
        r = radius * self._scale * self._cell
        self._draw.ellipse((x - r, y - r, x + r, y + r), outline=LINE, width=self._width)

    def dot(self, centre: Point, radius: float = 0.1) -> None:
        """Draw a filled point."""
        x, y = self._pixel(centre)
        r = radius * self._cell
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=LINE)

    def angle(self, vertex: Point, first: Point, second: Point, radius: float = 0.6) -> None:
        """Mark the angle between the rays from `vertex` through `first` and `second` with an arc."""
        x, y = self._pixel(vertex)
        ends = []
        for point in (first, second):
            px, py = self._pixel(point)
            ends.append(math.degrees(math.atan2(py - y, px - x)))
        start, end = ends if (ends[1] - ends[0]) % 360 <= 180 else (ends[1], ends[0])
        r = radius * self._cell
        self._draw.arc((x - r, y - r, x + r, y + r), start, end, fill=LINE, width=max(1, self._width * 2 // 3))

    def right_angle(self, vertex: Point, first: Point, second: Point, side: float = 0.5) -> None:
        """Mark a right angle at `vertex` with a square."""
        legs = []
        for point in (first, second):
            length = math.dist(vertex, point)
            legs.append(((point[0] - vertex[0]) / length * side, (point[1] - vertex[1]) / length * side))
        (ax, ay), (bx, by) = legs
        corners = [(ax, ay), (ax + bx, ay + by), (bx, by)]
        points = [(vertex[0] + dx, vertex[1] + dy) for dx, dy in corners]
        self.line(points[0], points[1])
        self.line(points[1], points[2])

    def label(self, text: object, centre: Point) -> None:
        """Write `text` into the free cells nearest to `centre`, with one character per cell.

        Raises:
            ValueError: no row has enough free cells.
        """
        text = str(text)
        x, y = self._place(centre)
        best = None
        for row in range(CELLS):
            for column in range(CELLS - len(text) + 1):
                cells = {(row, column + i) for i in range(len(text))}
                # A free cell on each side separates two numbers.
                needed = cells | {(row, column - 1), (row, column + len(text))}
                if needed & self._taken:
                    continue
                distance = math.hypot(column + len(text) / 2 - x, row + 0.5 - y)
                if best is None or distance < best[0] - 1e-9:
                    best = (distance, row, column)
        if best is None:
            raise ValueError(f"no free cells for the label {text!r}")
        _, row, column = best
        self._taken |= {(row, column + i) for i in range(len(text))}
        self._labels += [(row, column + i, character) for i, character in enumerate(text)]

    def image(self) -> Image.Image:
        """Return the RGB image of `size` x `size` pixels, with labels on white over the lines."""
        font = _font(round(self._cell * 0.86))
        for row, column, character in self._labels:
            x, y = (column + 0.5) * self._cell, (row + 0.5) * self._cell
            half = self._cell * 0.46
            self._draw.rectangle((x - half, y - half, x + half, y + half), fill="white")
            self._draw.text((x, y), character, fill=INK, font=font, anchor="mm")
        return self._image.resize((self.size, self.size), Image.Resampling.BOX)

    def png(self) -> bytes:
        """Return the image as PNG bytes."""
        buffer = io.BytesIO()
        self.image().save(buffer, "PNG")
        return buffer.getvalue()
