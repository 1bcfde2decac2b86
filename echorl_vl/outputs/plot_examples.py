"""Examples: problems with their pictures, and the correct responses that EchoClips come from, shaded by entropy."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

from echorl_vl.outputs.plot_style import BLUE, HEAT, INK, MUTED, RULE, heat_norm
from echorl_vl.outputs.terminal import visible

Row = dict[str, Any]
Box = tuple[float, float, float, float]  # left, bottom, width, height, as fractions of the figure

# Inches. The response is set in a monospaced face, so that its width in characters is known.
PICTURE, GAP, LINE, BAR_LEFT, NUMBERS = 2.35, 0.25, 0.168, 0.12, 0.5
RESPONSE_POINTS, QUESTION_POINTS = 8.3, 9.5
MOST_LINES = 26


def examples_figure(rows: Sequence[Row], count: int = 3):
    """The figure of `examples.png`: up to `count` problems below each other."""
    chosen = choose_examples(rows, count)
    width = 10.4
    heights = [example_height(row, 0.956 * width, picture) for row, picture in chosen]
    total = sum(heights) + 0.95 + 0.35 * (len(heights) - 1)
    figure = plt.figure(figsize=(width, total))
    step = rows[0]["step"] if rows else "?"
    figure.text(0.022, 1 - 0.33 / total, "What EchoRL learns from", fontsize=13, fontweight="bold", va="center")
    subtitle = (
        f"Correct answers of step {step}, each reasoning step shaded by its entropy. "
        "Blue: the EchoClip, up to the step chosen for its entropy."
    )
    figure.text(0.022, 1 - 0.58 / total, subtitle, fontsize=9, color=MUTED, va="center")
    norm = heat_norm([value for row in rows for value in row["step_entropies"] or ()])
    top = total - 0.82
    for (row, picture), height in zip(chosen, heights, strict=True):
        draw_example(figure, (0.022, (top - height) / total, 0.956, height / total), row, picture, norm)
        top -= height + 0.35
    return figure


def choose_examples(rows: Sequence[Row], count: int) -> list[tuple[Row, bytes | None]]:
    """Rollouts that clips come from, with their picture: those that have one first, then by step entropy."""
    pictures = {row["group"]: row["picture"] for row in rows if row.get("picture")}
    sources = [row for row in rows if row["is_clip_source"] and row["step_texts"]]
    sources.sort(key=lambda row: (row["group"] not in pictures, -(row["clip_step_entropy"] or 0.0)))
    chosen: dict[str, Row] = {}
    for row in sources:
        chosen.setdefault(row["uid"], row)
    return [(row, pictures.get(row["group"])) for row in list(chosen.values())[:count]]


def draw_example(figure, box: Box, row: Row, picture: bytes | None, norm) -> None:
    """Draws one problem into `box`: picture at the left, question and shaded response beside it."""
    left, bottom, width, height = box
    wide, high = figure.get_figwidth() * width, figure.get_figheight() * height
    if picture:
        side = min(high, PICTURE)
        fractions = (side / figure.get_figwidth(), side / figure.get_figheight())
        _draw_picture(figure.add_axes((left, bottom + height - fractions[1], *fractions)), picture)
    text = _text_width(wide, picture)
    axes = figure.add_axes((left + (wide - text) / figure.get_figwidth(), bottom, text / figure.get_figwidth(), height))
    axes.set_axis_off()
    axes.set(xlim=(0, text), ylim=(high, 0))  # inches, from the upper left
    y = 0.09
    for line in _question(row, text):
        axes.text(0, y, line, fontsize=QUESTION_POINTS, va="center", fontweight="bold")
        y += LINE + 0.01
    axes.text(0, y, f"ground truth: {visible(row['answer'])}", fontsize=8.5, va="center", color=MUTED)
    axes.text(text, y, "entropy, nats", fontsize=7.8, va="center", ha="right", color=MUTED)
    _draw_response(axes, row, y + LINE + 0.08, text, high, norm)


def _draw_response(axes, row: Row, top: float, width: float, bottom: float, norm) -> None:
    """One bar a line, from `top` down; the blue rule runs beside and under the lines of the EchoClip."""
    lines = _response(row, width)
    room = int((bottom - top + LINE / 2) / (LINE + 0.008))
    shown = lines if len(lines) <= room else lines[: max(room - 1, 1)]
    y, clip_bottom = top, None
    for number, line, first in shown:
        entropy = row["step_entropies"][number]
        known = entropy is not None and math.isfinite(entropy)
        shade = HEAT(norm(entropy)) if known else (0.96, 0.96, 0.96, 1.0)
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
        axes.text(BAR_LEFT + 0.06, y, f"... {len(lines) - len(shown)} lines more", fontsize=8, va="center", color=MUTED)
    if clip_bottom is not None:
        height = clip_bottom - top + LINE / 2
        round_box = "round,pad=0,rounding_size=0.02"
        rule = FancyBboxPatch((0.01, top - LINE / 2), 0.055, height, boxstyle=round_box, color=BLUE, linewidth=0)
        axes.add_patch(rule)
        axes.plot([0.02, width - NUMBERS], [clip_bottom + 0.006] * 2, color=BLUE, linewidth=2, solid_capstyle="butt")


def _draw_picture(axes, picture: bytes) -> None:
    axes.imshow(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")), interpolation="antialiased")
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=RULE)


def _text_width(inches: float, picture: bytes | None) -> float:
    return inches - (PICTURE + GAP if picture else 0.0)


def example_height(row: Row, inches: float, picture: bytes | None) -> float:
    """Inches that an example `inches` wide takes in full."""
    width = _text_width(inches, picture)
    lines = len(_question(row, width)) + 1 + min(len(_response(row, width)), MOST_LINES)
    return max(PICTURE if picture else 0.0, 0.3 + (LINE + 0.012) * lines)


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
