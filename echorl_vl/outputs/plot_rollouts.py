"""Entropy strips: rollouts of one step as bars, each reasoning step shaded by its entropy, with the EchoClips."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.patches import Rectangle

from echorl_vl.outputs.plot_style import BLUE, HEAT, MUTED, dress, heat_norm
from echorl_vl.outputs.terminal import visible

Row = dict[str, Any]


def choose_groups(rows: Sequence[Row], groups: int, per_group: int) -> list[list[Row]]:
    """The groups with the highest clip steps, and some rollouts of each, the source of the clip among them."""
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


def entropy_figure(rows: Sequence[Row], groups: int = 4, per_group: int = 6):
    """One bar a rollout, one segment a reasoning step, shaded by its entropy; the end of each EchoClip is marked."""
    picked = choose_groups(rows, groups, per_group)
    lines = sum(map(len, picked)) + 0.8 * max(len(picked) - 1, 0)
    figure = plt.figure(figsize=(9.2, 1.75 + 0.235 * max(lines, 6)))
    height = figure.get_figheight()
    axes = figure.add_axes((0.13, 0.55 / height, 0.74, 1 - (0.55 + 0.85) / height))
    norm = heat_norm([value for group in picked for row in group for value in row["step_entropies"]])
    y, ticks, longest = 0.0, [], 1
    for group in picked:
        axes.annotate(
            _group_title(group, rows),
            (-0.035, y + (len(group) - 1) / 2),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=8.5,
            color=MUTED,
            linespacing=1.3,
        )
        for row in group:
            longest = max(longest, len(row["tokens"]))
            _strip(axes, row, y, norm)
            ticks.append((y, {None: "", True: "✓", False: "✗"}[row["verified"]], row["verified"]))
            y += 1
        y += 0.8
    axes.set_ylim(max(y - 0.8, 1) - 0.4, -0.6)
    axes.set_xlim(0, longest * 1.01)
    axes.set_yticks([tick[0] for tick in ticks], [tick[1] for tick in ticks], fontsize=8.5)
    for label, tick in zip(axes.get_yticklabels(), ticks, strict=True):
        label.set_color("#00785A" if tick[2] else "#A33B33")
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    step = rows[0]["step"] if rows else "?"
    dress(
        axes,
        "Where the policy is unsure, and where the EchoClips end",
        f"Some rollouts of step {step}, one segment a reasoning step; blue: the EchoClip; ✓ correct, ✗ incorrect",
        "",
        "response token",
    )
    bar_axes = figure.add_axes((0.9, 0.55 / height, 0.016, 1 - (0.55 + 0.85) / height))
    bar = figure.colorbar(ScalarMappable(norm, HEAT), cax=bar_axes)
    bar.outline.set_visible(False)
    bar.set_label("entropy of the step, nats")
    return figure


def _strip(axes, row: Row, y: float, norm) -> None:
    """Segments of equal entropy; tokens outside of steps (the ending one) stay white."""
    ids, entropies = np.asarray(row["step_ids"]), row["step_entropies"]
    edges = np.flatnonzero(np.diff(ids, prepend=-2, append=-2)).tolist()
    for begin, end in pairwise(edges):
        number = ids[begin]
        if number >= 0:
            shade = HEAT(norm(entropies[number] or 0.0))
            axes.add_patch(
                Rectangle((begin, y - 0.38), end - begin, 0.76, facecolor=shade, edgecolor="white", linewidth=0.9)
            )
    if row["is_clip_source"]:
        stop = row["clip_end"] + 1
        axes.plot([0, stop], [y - 0.46] * 2, color=BLUE, linewidth=1.8, solid_capstyle="butt", clip_on=False)
        axes.plot([stop] * 2, [y - 0.52, y + 0.5], color=BLUE, linewidth=2.2, solid_capstyle="butt", clip_on=False)


def _group_title(group: list[Row], rows: Sequence[Row]) -> str:
    """The problem, and how many of all its rollouts are correct: a demonstration is none of them."""
    graded = [
        row["verified"]
        for row in rows
        if row["group"] == group[0]["group"] and row["verified"] is not None and not row.get("expert")
    ]
    counts = f"\n{sum(graded)} of {len(graded)} correct" if graded else ""
    return f"problem {visible(group[0]['uid'].rpartition(':')[2])}{counts}"
