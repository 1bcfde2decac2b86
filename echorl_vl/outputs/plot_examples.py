"""Examples: problems with their image, and the correct responses that EchoClips come from, coloured by entropy."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

from echorl_vl.outputs.entropy_scale import EntropyScale
from echorl_vl.outputs.plot_rollouts import entropy_colour, entropy_legend
from echorl_vl.outputs.plot_style import BLUE, INK, MUTED, RULE, new_figure
from echorl_vl.outputs.terminal import visible

Row = dict[str, Any]
Box = tuple[float, float, float, float]  # left, bottom, width, height, as fractions of the figure

# Inches. The response is set in a monospaced face, so that its width in characters is known.
IMAGE, GAP, LINE, BAR_LEFT, NUMBERS = 1.9, 0.2, 0.175, 0.12, 0.5
RESPONSE_POINTS, QUESTION_POINTS, SMALL_POINTS = 8.6, 9.5, 8.6
MOST_LINES = 26
WIDTH = 8.6
HEADER, SPACE = 1.12, 0.35  # above the first example, between two


def examples_figure(rows: Sequence[Row], count: int = 3) -> Figure:
    """The figure of `examples.png`: up to `count` problems, one below the other."""
    chosen = choose_examples(rows, count)
    heights = [example_height(row, 0.956 * WIDTH, image) for row, image in chosen]
    total = sum(heights) + HEADER + 0.15 + SPACE * (len(heights) - 1)
    figure = new_figure(WIDTH, total)
    scale = EntropyScale.from_rollouts(rows)
    examples_header(figure, rows, scale, total)
    top = total - HEADER
    for (row, image), height in zip(chosen, heights, strict=True):
        draw_example(figure, (0.022, (top - height) / total, 0.956, height / total), row, image, scale)
        top -= height + SPACE
    return figure


def examples_header(figure: Figure, rows: Sequence[Row], scale: EntropyScale, top: float) -> None:
    """Title, subtitle and colour bar, down from `top` inches above the bottom of the figure."""
    height = figure.get_figheight()
    step = rows[0]["step"] if rows else "?"
    figure.text(0.022, (top - 0.3) / height, "What EchoRL learns from", fontsize=12, fontweight="bold", va="center")
    lines = [
        f"Correct responses of training step {step}, each reasoning step coloured by its entropy.",
        "Blue: the EchoClip, which ends with the step selected for its entropy.",
    ]
    lines += [f"{scale.note()}."] if scale.note() else []
    for number, line in enumerate(lines):
        figure.text(0.022, (top - 0.55 - 0.17 * number) / height, line, fontsize=9, color=MUTED, va="center")
    entropy_legend(figure, (0.76, (top - 0.37) / height, 0.2, 0.12 / height), scale)


def choose_examples(rows: Sequence[Row], count: int) -> list[tuple[Row, bytes | None]]:
    """Rollouts that clips come from, with their image: those with an image first, then by entropy of the step."""
    images = {row["group"]: row["picture"] for row in rows if row.get("picture")}
    sources = [row for row in rows if row["is_clip_source"] and row["step_texts"]]
    sources.sort(key=lambda row: (row["group"] not in images, -(row["clip_step_entropy"] or 0.0)))
    chosen: dict[str, Row] = {}
    for row in sources:
        chosen.setdefault(row["uid"], row)
    return [(row, images.get(row["group"])) for row in list(chosen.values())[:count]]


def draw_example(figure: Figure, box: Box, row: Row, image: bytes | None, scale: EntropyScale) -> None:
    """Draws one problem into `box`: the image on the left, the question and the coloured response to its right."""
    left, bottom, width, height = box
    wide, high = figure.get_figwidth() * width, figure.get_figheight() * height
    if image:
        side = min(high, IMAGE)
        fractions = (side / figure.get_figwidth(), side / figure.get_figheight())
        _draw_image(figure.add_axes((left, bottom + height - fractions[1], *fractions)), image)
    text = _text_width(wide, image)
    axes = figure.add_axes((left + (wide - text) / figure.get_figwidth(), bottom, text / figure.get_figwidth(), height))
    axes.set_axis_off()
    axes.set(xlim=(0, text), ylim=(high, 0))  # inches, from the upper left
    y = 0.09
    for line in _question(row, text):
        axes.text(0, y, line, fontsize=QUESTION_POINTS, va="center", fontweight="bold")
        y += LINE + 0.01
    axes.text(0, y, f"ground truth: {visible(row['answer'])}", fontsize=SMALL_POINTS, va="center", color=MUTED)
    axes.text(text, y, "nats", fontsize=SMALL_POINTS, va="center", ha="right", color=MUTED)
    _draw_response(axes, row, y + LINE + 0.08, text, high, scale)


def _draw_response(axes, row: Row, top: float, width: float, bottom: float, scale: EntropyScale) -> None:
    """One bar a line, from `top` down. The blue rule runs along the lines of the EchoClip and underlines the last."""
    lines = _response(row, width)
    room = int((bottom - top + LINE / 2) / (LINE + 0.008))
    shown = lines if len(lines) <= room else lines[: max(room - 1, 1)]
    y, clip_bottom = top, None
    for number, line, first in shown:
        entropy = row["step_entropies"][number]
        known = scale.position(entropy) is not None
        shade = entropy_colour(scale, entropy)
        y += 0.012 if first and y > top else 0
        bar = Rectangle((BAR_LEFT, y - LINE / 2), width - NUMBERS - BAR_LEFT, LINE, color=shade, linewidth=0)
        axes.add_patch(bar)
        dark = 0.3 * shade[0] + 0.59 * shade[1] + 0.11 * shade[2] < 0.45
        ink = "white" if dark else INK
        axes.text(BAR_LEFT + 0.06, y, line, fontsize=RESPONSE_POINTS, va="center", family="DejaVu Sans Mono", color=ink)
        if first and known:
            look = {"color": BLUE, "fontweight": "bold"} if number == row["clip_step"] else {"color": MUTED}
            axes.text(width, y, f"{entropy:.2f}", fontsize=RESPONSE_POINTS, va="center", ha="right", **look)
        y += LINE
        if number <= (-1 if row["clip_step"] is None else row["clip_step"]):
            clip_bottom = y - LINE / 2
    if len(shown) < len(lines):
        axes.text(
            BAR_LEFT + 0.06,
            y,
            f"... {len(lines) - len(shown)} more lines",
            fontsize=SMALL_POINTS,
            va="center",
            color=MUTED,
        )
    if clip_bottom is not None:
        height = clip_bottom - top + LINE / 2
        round_box = "round,pad=0,rounding_size=0.02"
        rule = FancyBboxPatch((0.01, top - LINE / 2), 0.055, height, boxstyle=round_box, color=BLUE, linewidth=0)
        axes.add_patch(rule)
        axes.plot([0.02, width - NUMBERS], [clip_bottom + 0.006] * 2, color=BLUE, linewidth=2, solid_capstyle="butt")


def _draw_image(axes, image: bytes) -> None:
    axes.imshow(np.asarray(Image.open(io.BytesIO(image)).convert("RGB")), interpolation="antialiased")
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=RULE)


def _text_width(inches: float, image: bytes | None) -> float:
    return inches - (IMAGE + GAP if image else 0.0)


def example_height(row: Row, inches: float, image: bytes | None) -> float:
    """Height in inches of a whole example that is `inches` wide."""
    width = _text_width(inches, image)
    lines = len(_question(row, width)) + 1 + min(len(_response(row, width)), MOST_LINES)
    return max(IMAGE if image else 0.0, 0.3 + (LINE + 0.012) * lines)


def _question(row: Row, width: float) -> list[str]:
    text = visible(" ".join(row["question"].replace("<image>", "").split()))
    characters = int(width / (0.62 * QUESTION_POINTS / 72))
    return textwrap.wrap(text, max(characters, 20), max_lines=3, placeholder=" ...") or [""]


def _response(row: Row, width: float) -> list[tuple[int, str, bool]]:
    """(reasoning step, text, first line of the step?) of each line, wrapped to `width` inches."""
    characters = max(int((width - NUMBERS - BAR_LEFT - 0.1) / (0.602 * RESPONSE_POINTS / 72)), 20)
    lines = []
    for number, text in enumerate(row["step_texts"]):
        written = visible(text.strip("\n")).split("\n")
        pieces = [piece for line in written for piece in textwrap.wrap(line, characters) or [""]]
        lines += [(number, piece, index == 0) for index, piece in enumerate(pieces)]
    return lines
