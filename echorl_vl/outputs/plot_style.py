"""How every plot looks: colours that colour-blind readers tell apart, light grids, labels at the lines."""

from __future__ import annotations

import itertools
import math
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#8A8F98",
)
INK, MUTED, RULE = "#1F2430", "#5B6270", "#E4E7EC"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY)
HEAT = LinearSegmentedColormap.from_list("entropy", ["#F4F1EA", "#FBE3B3", "#F6B65F", "#E57A3C", "#B93A32"])

_STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": "#C3C8D0",
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
}


@contextmanager
def style():
    """The style within a `with`, without the warnings of fonts that lack a character."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        yield


def save(figure, path: Path) -> Path:
    """Writes a figure as PNG and frees it."""
    from echorl_vl.outputs import atomic

    try:
        with atomic.replacing(path, durable=False) as partial:
            figure.savefig(partial, format="png", facecolor="white")
    finally:
        plt.close(figure)
    return path


def dress(axes, title: str, subtitle: str, ylabel: str, xlabel: str = "training step") -> None:
    """Title (what is seen), subtitle (what is drawn) and axis labels.

    Both are kept out of the panels at the right, those that are in the figure by now: a subtitle that is too long has
    two lines or more, a title is written smaller.
    """
    room = _room(axes)
    note = axes.annotate(
        subtitle,
        (0, 1),
        (0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        color=MUTED,
        va="bottom",
    )
    note.set_text(_broken(subtitle, int(len(subtitle) * room / _width(note))))
    lines = note.get_text().count("\n") + 1
    head = axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", pad=8 + 11.5 * lines)
    head.set_fontsize(11.5 * min(1.0, room / _width(head)))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)


def _room(axes) -> float:
    """Pixels from the left of the axes to the y labels of the next ones at the right, or to the edge of the figure."""
    own, figure = axes.get_position(), axes.figure
    extra_sections = [other.get_position() for other in figure.axes if other is not axes]
    lefts = [box.x0 for box in extra_sections if box.x0 > own.x0 + 1e-6 and box.y0 < own.y1 <= box.y1 + 1e-6]
    inches = figure.get_figwidth() * (min(lefts, default=1.0) - own.x0) - (0.6 if lefts else 0.08)
    return inches * figure.dpi


def _width(text) -> float:
    """Pixels; at least 1."""
    return max(text.get_window_extent(text.figure.canvas.get_renderer()).width, 1.0)


def _broken(text: str, characters: int) -> str:
    """The text in lines of at most so many characters, broken after a semicolon where one is near."""
    lines = [""]
    for part in text.split("; "):
        joined = f"{lines[-1]}; {part}" if lines[-1] else part
        if len(joined) <= characters or not lines[-1]:
            lines[-1] = joined
        else:
            lines[-1] += ";"
            lines.append(part)
    return "\n".join(piece for line in lines for piece in textwrap.wrap(line, max(characters, 10)) or [""])


def step_axis(axes, steps: np.ndarray) -> None:
    """An x axis of whole steps that is never empty, also for one step."""
    low, high = (float(steps.min()), float(steps.max())) if len(steps) else (0.0, 1.0)
    pad = 0.5 if low == high else 0.0
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)


def percent_axis(axes, low: float = 0.0, high: float = 1.0) -> None:
    """A y axis of shares whose labels are the ticks, to the last digit."""
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g} %"))


def number_axis(axis) -> None:
    """An axis of a few numbers, each with its own exponent, if any: an offset would be written over the subtitle."""
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def errorbars(axes, steps: np.ndarray, shares: np.ndarray, errors: np.ndarray, **look) -> None:
    """Shares with their standard errors, within 0 to 1; whole also where they stand on the edge of the axes."""
    errors = np.clip(np.stack((np.minimum(errors, shares), np.minimum(errors, 1 - shares))), 0, None)
    drawn = axes.errorbar(steps, shares, errors, marker="o", capsize=0, zorder=5, **look)
    for artist in drawn.get_children():
        artist.set_clip_on(False)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean over `window` values that passes over NaN; the window shrinks at the ends."""
    known = np.isfinite(values)
    kernel = np.ones(max(window, 1) | 1)  # odd, so that it is centred
    sums = np.convolve(np.where(known, values, 0.0), kernel, "full")
    counts = np.convolve(known.astype(float), kernel, "full")
    half = len(kernel) // 2
    sums, counts = (array[half : half + len(values)] for array in (sums, counts))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def window_for(steps: int) -> int:
    """Smoothing window in steps: a tenth of the run, at least 3."""
    return max(3, round(steps / 10))


def raw_and_smooth(axes, steps: np.ndarray, values: np.ndarray, colour: str, width: float = 2.2) -> float:
    """Draws the values faintly and their moving mean strongly; returns the last smoothed value (NaN if none)."""
    known = np.isfinite(values)
    if not known.any():
        return math.nan
    if known.sum() == 1:
        axes.plot(steps[known], values[known], "o", color=colour, markersize=7, clip_on=False, zorder=4)
        return float(values[known][0])
    axes.plot(steps[known], values[known], color=colour, alpha=0.28, linewidth=1.0)
    line = smooth(values, window_for(len(values)))[known]
    axes.plot(steps[known], line, color=colour, linewidth=width)
    return float(line[-1])


def _apart(positions: list[float], heights: list[float], top: float) -> list[float]:
    """Rising positions moved apart by as little as keeps labels of these heights from overlapping, within 0 and top.

    Where there is no room for all of them they go beyond the top.
    """
    gaps = [(low + high) / 2 for low, high in itertools.pairwise(heights)]
    for _ in range(200):  # push neighbours apart until none overlap
        moved = False
        for index, gap in enumerate(gaps):
            missing = gap - (positions[index + 1] - positions[index])
            if missing > 0.1:
                positions[index] -= missing / 2
                positions[index + 1] += missing / 2
                moved = True
        if not moved:
            break
    positions[-1] = min(positions[-1], top)
    for index in reversed(range(len(gaps))):
        positions[index] = min(positions[index], positions[index + 1] - gaps[index])
    positions[0] = max(positions[0], 0.0)
    for index, gap in enumerate(gaps):
        positions[index + 1] = max(positions[index + 1], positions[index] + gap)
    return positions


def label_ends(axes, labels: Sequence[tuple[float, str, str]], fontsize: float = 9, x: float = 1.015) -> None:
    """Writes (y, text, colour) at the right edge, moved apart where they would overlap."""
    labels = sorted((label for label in labels if math.isfinite(label[0])), key=lambda label: label[0])
    if not labels:
        return
    left, _ = axes.get_xlim()  # settles the limits, which the transform below reads
    axes.get_ylim()
    box = axes.get_position()
    points = axes.figure.get_figheight() * 72 * box.height
    place = axes.transData + axes.transAxes.inverted()
    positions = [float(place.transform((left, y))[1]) * points for y, _, _ in labels]
    heights = [fontsize * 1.32 * (text.count("\n") + 1) for _, text, _ in labels]
    positions = _apart(positions, heights, points)
    for position, (_, text, colour) in zip(positions, labels, strict=True):
        axes.annotate(
            text,
            (x, position / points),
            xycoords="axes fraction",
            color=colour,
            fontsize=fontsize,
            va="center",
            fontweight="bold",
            linespacing=1.15,
            annotation_clip=False,
        )


def heat_norm(values: Sequence[float]) -> Normalize:
    """Colour scale from 0 to the 98th percentile of the entropies, at least 0.05 nats wide."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return Normalize(0.0, max(float(np.percentile(known, 98)) if known else 0.0, 0.05), clip=True)


def quantity(value: float) -> str:
    """Three significant digits, without an exponent where possible: 0.00123, 1.25, 12.5."""
    if not math.isfinite(value):
        return "?"
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1e5 or value == 0 else f"{value:.1e}"
