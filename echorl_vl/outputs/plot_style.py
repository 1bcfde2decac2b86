"""The look of every figure: colours that colour-blind readers can tell apart, light grids, labels at the lines.

Figures are made without pyplot, so importing this module leaves the backend of a notebook or a script alone.
"""

from __future__ import annotations

import itertools
import math
import re
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from echorl_vl.outputs import atomic

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
GRID_WIDTH, ROW_HEIGHT = 8.6, 3.6  # inches
TITLE_POINTS, LEAST_TITLE_POINTS = 11.0, 9.0
OVERHANG = 3.0  # points
OUTLIER_PERCENTILE = 99
OUTLIERS = "the 99th percentile"

_STYLE = {
    "figure.dpi": 160,
    "savefig.dpi": 160,  # the same: texts are measured before they are saved
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
    """Applies the style within a `with` block and hides the warnings about fonts that lack a character."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, which pyplot does not know."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def panel_grid(count: int, below: float = 0.0, labels: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of panels in two columns, or of one large panel, that can be read at a width of 600 pixels.

    Args:
        count: number of panels.
        below: inches to keep free at the bottom.
        labels: whether the panels need room at their right for `label_ends`.

    Returns:
        The figure and the axes, row by row.
    """
    if count == 1 and not below:
        figure = new_figure(7.6, 4.3)
        return figure, [figure.add_axes((0.1, 0.12, 0.67 if labels else 0.86, 0.71))]
    rows = -(-count // 2)
    height = ROW_HEIGHT * rows + below
    figure = new_figure(GRID_WIDTH, height)
    boxes = []
    for index in range(count):
        left, row = 0.08 + 0.5 * (index % 2), rows - 1 - index // 2
        bottom = (below + ROW_HEIGHT * row + 0.55) / height
        boxes.append((left, bottom, 0.29 if labels else 0.385, 1.95 / height))
    return figure, [figure.add_axes(box) for box in boxes]


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG and returns the path."""
    with atomic.replacing(path, durable=False) as partial:
        figure.savefig(partial, format="png", facecolor="white")
    return path


def dress(axes, title: str, subtitle: str, ylabel: str, xlabel: str = "training step") -> None:
    """Sets the title (the finding), the subtitle (the quantity) and the axis labels.

    Title and subtitle stay clear of the axes to the right, which have to be in the figure already. A subtitle that is
    too long gets more lines. A title that is too long is set smaller, and in two lines if that is not enough.
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
    lines = note.get_text().count("\n") + 1 if subtitle else 0
    head = axes.set_title(title, loc="left", fontsize=TITLE_POINTS, fontweight="bold", pad=8 + 11.5 * lines)
    while _width(head) > room and head.get_fontsize() > LEAST_TITLE_POINTS:
        head.set_fontsize(head.get_fontsize() - 0.25)
    if _width(head) > room:
        longest = int(len(title) * room / _width(head))
        balanced = len(title) // 2 + 6  # no single word on the second line
        head.set_text("\n".join(textwrap.wrap(title, max(min(longest, balanced), 10))))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)


def _room(axes) -> float:
    """Pixels from the left of the axes to the y labels of the next axes, or to the edge of the figure."""
    this, figure = axes.get_position(), axes.figure
    boxes = [other.get_position() for other in figure.axes if other is not axes]
    lefts = [box.x0 for box in boxes if box.x0 > this.x0 + 1e-6 and box.y0 < this.y1 <= box.y1 + 1e-6]
    inches = figure.get_figwidth() * (min(lefts, default=1.0) - this.x0) - (0.75 if lefts else 0.08)
    return inches * figure.dpi


def _width(text) -> float:
    """Width of a text in pixels; at least 1."""
    return max(text.get_window_extent(text.figure.canvas.get_renderer()).width, 1.0)


def _broken(text: str, characters: int) -> str:
    """The text in lines of at most `characters` characters, broken after a semicolon where one is near."""
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
    """An x axis of whole steps, which has some width even for one step."""
    low, high = (float(steps.min()), float(steps.max())) if len(steps) else (0.0, 1.0)
    pad = 0.5 if low == high else 0.0
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)


def percent_axis(axes, low: float = 0.0, high: float = 1.0) -> None:
    """A y axis of shares in percent. Each label is exactly the value of its tick."""
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g} %"))


def number_axis(axis) -> None:
    """An axis of at most 6 numbers, each with its own exponent: a common offset would overlap the subtitle."""
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_exponent(f"{value:.6g}")))


def value_axis(axes, steps: np.ndarray, *columns: np.ndarray, unit: str = "", what: str = "step") -> str:
    """Sets a y axis from 0 (or a lower value) to a little above the highest value, without its outliers.

    If the highest value is over twice the 99th percentile, the axis ends at that percentile and a triangle at the edge
    marks each step above it. Negative values are treated in the same way.

    Args:
        axes: where the columns are plotted.
        steps: (R,) training steps.
        columns: (R,) values, NaN where a step has none.
        unit: of the values, for the note. what: the note's word for one value.

    Returns:
        A note on the outliers for the subtitle, with a leading "; "; "" without outliers.
    """
    values = np.concatenate([column[np.isfinite(column)] for column in columns])
    high, low = _edge(values), -_edge(-values)
    step_axis(axes, steps)
    pad = 0.08 * (high - low)
    axes.set_ylim(low - pad if low < 0 else 0.0, high + pad if high > 0 else pad or 1.0)
    number_axis(axes.yaxis)
    notes = []
    for edge, place, marker, word, extreme in ((high, 1.0, "^", "above", np.max), (-low, 0.0, "v", "below", np.min)):
        side = 1.0 if place else -1.0
        beyond = np.logical_or.reduce([np.nan_to_num(side * column) > edge for column in columns])
        if len(values) and beyond.any():
            axes.plot(
                steps[beyond],
                np.full(beyond.sum(), place),
                marker,
                color=INK,
                markersize=5,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
                zorder=6,
            )
            count = f"{beyond.sum()} {what}{'' if beyond.sum() == 1 else 's'}"
            end = "highest" if place else "lowest"
            notes.append(
                f"; {count} {word} {quantity(side * edge)} ({OUTLIERS if place else 'the 1st percentile'}), "
                f"{end} {quantity(float(extreme(values)))}{unit and ' '}{unit}"
            )
    return "".join(notes)


def _edge(values: np.ndarray) -> float:
    """The largest positive value to show: the highest, or the 99th percentile if that is far lower; 0 without one."""
    if not len(values) or values.max() <= 0:
        return 0.0
    percentile = float(np.percentile(values, OUTLIER_PERCENTILE, method="lower"))
    return percentile if values.max() > 2 * percentile > 0 else float(values.max())


def errorbars(axes, steps: np.ndarray, shares: np.ndarray, errors: np.ndarray, **look) -> None:
    """Shares with their standard errors, within 0 and 1. Points on the edge of the axes are not cut off."""
    errors = np.clip(np.stack((np.minimum(errors, shares), np.minimum(errors, 1 - shares))), 0, None)
    container = axes.errorbar(steps, shares, errors, marker="o", capsize=0, zorder=5, **look)
    for artist in container.get_children():
        artist.set_clip_on(False)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean over `window` values, NaN ignored; the window shrinks at the ends."""
    known = np.isfinite(values)
    kernel = np.ones(max(window, 1) | 1)  # odd, so that it is centred
    sums = np.convolve(np.where(known, values, 0.0), kernel, "full")
    counts = np.convolve(known.astype(float), kernel, "full")
    half = len(kernel) // 2
    sums, counts = (array[half : half + len(values)] for array in (sums, counts))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def window_for(steps: int) -> int:
    """Width of the moving mean in steps: a tenth of the run, at least 3."""
    return max(3, round(steps / 10))


def raw_and_smooth(axes, steps: np.ndarray, values: np.ndarray, colour: str, width: float = 2.2) -> float:
    """Plots the values as a faint line and their moving mean as a strong one.

    Returns:
        The last value of the moving mean; NaN without any value.
    """
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
    """Moves rising positions apart just enough that labels of these heights don't overlap, within 0 and `top`.

    The labels reach over the ends by at most `OVERHANG`. If there is no room for all, they continue beyond `top`.
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
    positions[-1] = min(positions[-1], top - max(heights[-1] / 2 - OVERHANG, 0.0))
    for index in reversed(range(len(gaps))):
        positions[index] = min(positions[index], positions[index + 1] - gaps[index])
    positions[0] = max(positions[0], heights[0] / 2 - OVERHANG, 0.0)
    for index, gap in enumerate(gaps):
        positions[index + 1] = max(positions[index + 1], positions[index] + gap)
    return positions


def label_ends(axes, labels: Sequence[tuple[float, str, str]], fontsize: float = 9) -> None:
    """Writes labels (y, text, colour) at the right edge, moved apart where they would overlap."""
    labels = sorted((label for label in labels if math.isfinite(label[0])), key=lambda label: label[0])
    if not labels:
        return
    left, _ = axes.get_xlim()  # settles the limits, which the transform below reads
    low, high = axes.get_ylim()
    box = axes.get_position()
    points = axes.figure.get_figheight() * 72 * box.height
    place = axes.transData + axes.transAxes.inverted()
    positions = [float(place.transform((left, min(max(y, low), high)))[1]) * points for y, _, _ in labels]
    heights = [fontsize * 1.32 * (text.count("\n") + 1) for _, text, _ in labels]
    positions = _apart(positions, heights, points)
    for position, (_, text, colour) in zip(positions, labels, strict=True):
        axes.annotate(
            text,
            (1, position / points),
            (6, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=text_colour(colour),
            fontsize=fontsize,
            va="center",
            fontweight="bold",
            linespacing=1.15,
            annotation_clip=False,
        )


def text_colour(colour: str) -> tuple[float, float, float]:
    """A darker shade of a line's colour, for text on white."""
    red, green, blue = to_rgb(colour)
    return 0.7 * red, 0.7 * green, 0.7 * blue


def quantity(value: float) -> str:
    """Three significant digits, or all before the point; an exponent for tiny and huge numbers: 0.00123, 1024, 5e-5."""
    if not math.isfinite(value):
        return "?"
    if value and not 1e-4 <= abs(value) < 1e5:
        return short_exponent(f"{value:.1e}")
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def first_upper(text: str) -> str:
    """The text with a capital at its start; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def short_exponent(text: str) -> str:
    """ "5.0e-05" -> "5e-5"; a number without an exponent stays."""
    return re.sub(r"(?:\.0+)?e([+-])0*(\d)", lambda match: f"e{match[1].strip('+')}{match[2]}", text)
