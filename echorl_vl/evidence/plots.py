"""Plots shared by several experiments."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from echorl_vl.outputs.plot_style import (
    CYCLE,
    MUTED,
    dress,
    label_ends,
    new_figure,
    percent_axis,
    save,
    short_exponent,
    style,
)

from .statistics import interval

LABEL_COLUMNS = 12  # characters of a label at the end of a line


def forest(
    path: Path,
    contrasts: Sequence[Mapping[str, Any]],
    title: str,
    subtitle: str,
    xlabel: str,
    linear: float | None = None,
) -> Path:
    """Draw a forest plot: one row per contrast with its seeds (faint dots), mean and interval.

    Args:
        path: the file.
        contrasts: the contrasts, from `Contrast.to_json`; those with the same name up to ": " share a colour.
        title: title of the plot.
        subtitle: line below the title.
        xlabel: label of the x axis.
        linear: distance from zero beyond which the x axis is logarithmic; None for a linear axis.
    """
    families = list(dict.fromkeys(_family(contrast["name"]) for contrast in contrasts))
    with style():
        figure = new_figure(8.4, 1.75 + 0.34 * len(contrasts))
        height = figure.get_figheight()
        axes = figure.add_axes((0.31, 0.62 / height, 0.65, 1 - 1.5 / height))
        for row, contrast in enumerate(contrasts):
            colour = CYCLE[families.index(_family(contrast["name"])) % len(CYCLE)]
            values = [value for value in contrast["values"] if value is not None]
            axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.3, markersize=4)
            if contrast["mean"] is not None:
                axes.plot(contrast["mean"], row, "o", color=colour, markersize=7, zorder=4)
            if contrast["low"] is not None:
                axes.plot((contrast["low"], contrast["high"]), (row, row), color=colour, linewidth=2)
        if linear is not None:
            axes.set_xscale("symlog", linthresh=linear)
            ends = [side * linear * factor for side in (-1, 1) for factor in (0.5, 1, 10)]
            axes.set_xticks(sorted([0.0, *ends]), minor=False)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.minorticks_off()
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(contrasts)), [contrast["name"] for contrast in contrasts])
        axes.set_ylim(len(contrasts) - 0.4, -0.6)
        axes.grid(False, axis="y")
        dress(axes, title, subtitle, "", xlabel)
        return save(figure, path)


def banded(axes, x: Sequence[float], lines: Mapping[str, Sequence[Sequence[float]]], markers: bool = True) -> None:
    """Draw lines of means over seeds with their intervals; lines: label -> (seeds, points)."""
    labels = []
    for colour, (label, values) in zip((*CYCLE, *CYCLE), lines.items(), strict=False):
        columns = [
            interval([math.nan if value is None else value for value in column]) for column in zip(*values, strict=True)
        ]
        mean = np.array([column.mean for column in columns])
        low, high = (np.array([getattr(column, end) for column in columns]) for end in ("low", "high"))
        axes.plot(x, mean, color=colour, marker="o" if markers else None, markersize=5)
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
        known = mean[np.isfinite(mean)]
        wrapped = "\n".join(
            line for part in label.split("\n") for line in textwrap.wrap(part, LABEL_COLUMNS, break_long_words=False)
        )
        labels.append((float(known[-1]) if len(known) else math.nan, wrapped, colour))
    label_ends(axes, labels, fontsize=8.6)


def share_axis(axes, values: Iterable[float | None]) -> None:
    """Fit a percent axis to the values; it starts a little below 0, so that lines at 0 and their labels are visible."""
    highest = max((value for value in values if value is not None and math.isfinite(value)), default=1.0)
    percent_axis(axes, -0.04 * max(highest, 0.1), min(1.02, max(0.1, highest * 1.3)))


def log_axis(axes) -> None:
    """Make the y axis logarithmic, with plain numbers down to 0.01 and exponents below."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if value >= 0.01 else short_exponent(f"{value:.0e}"))
    )
    axes.yaxis.set_minor_formatter(NullFormatter())


def _family(name: str) -> str:
    return name.partition(": ")[0] if ": " in name else ""
