"""Entropy strips: the rollouts of one step as bars, each reasoning step coloured by its entropy, with the EchoClips."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from echorl_vl.outputs.entropy_scale import COLOURS, EntropyScale
from echorl_vl.outputs.plot_style import BLUE, MUTED, dress, new_figure
from echorl_vl.outputs.terminal import visible

Row = dict[str, Any]

HEAT = LinearSegmentedColormap.from_list("entropy", COLOURS)
NO_ENTROPY = (0.86, 0.88, 0.91, 1.0)  # grey: not on the scale
CORRECT, INCORRECT = "#00684D", "#A34700"


def entropy_colour(scale: EntropyScale, entropy: float | None) -> tuple[float, float, float, float]:
    """The colour of an entropy on the scale; grey without an entropy."""
    position = scale.position(entropy)
    return NO_ENTROPY if position is None else HEAT(position)


def entropy_legend(figure: Figure, box: tuple[float, float, float, float], scale: EntropyScale) -> None:
    """Draws the colour bar of the scale into `box`: left, bottom, width, height as fractions of the figure."""
    axes = figure.add_axes(box)
    upright = box[3] * figure.get_figheight() > box[2] * figure.get_figwidth()
    mappable = ScalarMappable(Normalize(0.0, scale.top), HEAT)
    bar = figure.colorbar(mappable, cax=axes, orientation="vertical" if upright else "horizontal")
    bar.outline.set_visible(False)
    end = f"{scale.top:g}{' +' if scale.above else ''}"
    bar.set_ticks([0.0, scale.top / 2, scale.top], labels=["0", f"{scale.top / 2:g}", end])
    bar.ax.tick_params(labelsize=9, pad=2)
    bar.set_label("entropy of the step, nats", fontsize=9, labelpad=2)


def choose_groups(rows: Sequence[Row], groups: int, per_group: int) -> list[list[Row]]:
    """The groups with the highest clip entropies, and some rollouts of each, the source of the clip included."""
    by_group: dict[int, list[Row]] = {}
    for row in rows:
        if any(row["step_entropies"] or ()):
            by_group.setdefault(row["group"], []).append(row)

    def height(group: list[Row]) -> float:
        return max((row["clip_step_entropy"] or 0.0 for row in group if row["is_clip_source"]), default=-1.0)

    chosen = sorted(by_group.values(), key=height, reverse=True)[:groups]
    picked = []
    for group in chosen:
        first = sorted(group, key=lambda row: not row["is_clip_source"])[:per_group]
        picked.append(sorted(first, key=lambda row: row["row"]))
    return picked


def entropy_figure(rows: Sequence[Row], groups: int = 4, per_group: int = 6) -> Figure:
    """One bar a rollout and one segment a reasoning step, coloured by its entropy. The end of each clip is marked."""
    picked = choose_groups(rows, groups, per_group)
    lines = sum(map(len, picked)) + 0.8 * max(len(picked) - 1, 0)
    figure = new_figure(8.6, 2.05 + 0.235 * max(lines, 6))
    height = figure.get_figheight()
    panel = (0.155, 0.55 / height, 0.7, 1 - (0.55 + 0.95) / height)
    axes = figure.add_axes(panel)
    scale = EntropyScale.from_rollouts(rows)
    y, ticks, longest = 0.0, [], 1
    for group in picked:
        axes.annotate(
            _group_title(group, rows),
            (-0.035, y + (len(group) - 1) / 2),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=9,
            color=MUTED,
            linespacing=1.3,
        )
        for row in group:
            longest = max(longest, len(row["tokens"]))
            _strip(axes, row, y, scale)
            ticks.append((y, {None: "", True: "✓", False: "✗"}[row["verified"]], row["verified"]))
            y += 1
        y += 0.8
    axes.set_ylim(max(y - 0.8, 1) - 0.4, -0.6)
    axes.set_xlim(0, longest * 1.01)
    axes.set_yticks([tick[0] for tick in ticks], [tick[1] for tick in ticks], fontsize=9)
    for label, tick in zip(axes.get_yticklabels(), ticks, strict=True):
        label.set_color(CORRECT if tick[2] else INCORRECT)
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    step = rows[0]["step"] if rows else "?"
    note = f"; {scale.note()}" if scale.note() else ""
    dress(
        axes,
        "Entropy of reasoning steps, and where the EchoClips end",
        f"Some rollouts of training step {step}, one segment a reasoning step; blue: EchoClip; "
        f"✓ correct, ✗ incorrect{note}",
        "",
        "position in the response, tokens",
    )
    entropy_legend(figure, (0.885, panel[1], 0.018, panel[3]), scale)
    return figure


def _strip(axes, row: Row, y: float, scale: EntropyScale) -> None:
    """One segment a reasoning step; tokens outside of steps, such as the end token, stay white."""
    ids, entropies = np.asarray(row["step_ids"]), row["step_entropies"]
    edges = np.flatnonzero(np.diff(ids, prepend=-2, append=-2)).tolist()
    for begin, end in pairwise(edges):
        number = ids[begin]
        if number >= 0:
            colour = entropy_colour(scale, entropies[number])
            axes.add_patch(
                Rectangle((begin, y - 0.38), end - begin, 0.76, facecolor=colour, edgecolor="white", linewidth=0.9)
            )
    if row["is_clip_source"]:
        stop = row["clip_end"] + 1
        axes.plot([0, stop], [y - 0.46] * 2, color=BLUE, linewidth=1.8, solid_capstyle="butt", clip_on=False)
        axes.plot([stop] * 2, [y - 0.52, y + 0.5], color=BLUE, linewidth=2.2, solid_capstyle="butt", clip_on=False)


def _group_title(group: list[Row], rows: Sequence[Row]) -> str:
    """The problem and how many of its sampled rollouts are correct, demonstrations not counted."""
    graded = [
        row["verified"]
        for row in rows
        if row["group"] == group[0]["group"] and row["verified"] is not None and not row.get("expert")
    ]
    counts = f"\n{sum(graded)} of {len(graded)} correct" if graded else ""
    return f"problem {visible(group[0]['uid'].rpartition(':')[2])}{counts}"
