"""Panels on accuracy, groups and time. Each draws the answer to one question into given axes; its title says it."""

from __future__ import annotations

import math

import numpy as np

from echorl_vl.core import metric_names as names
from echorl_vl.outputs.plot_data import HINT_TOKENS, RunData, change_title
from echorl_vl.outputs.plot_style import (
    BLUE,
    CYCLE,
    GREY,
    MUTED,
    ORANGE,
    VERMILION,
    dress,
    errorbars,
    label_ends,
    number_axis,
    percent_axis,
    raw_and_smooth,
    smooth,
    step_axis,
    window_for,
)
from echorl_vl.shares import percent

TIMING_BARS = 200  # a run with more steps shows means over several steps


def learning(axes, run: RunData) -> None:
    """Training accuracy, raw and smoothed, and validation accuracy with its standard error."""
    training = run.get(names.ACCURACY)
    steps, accuracy, error = run.validations()
    end = raw_and_smooth(axes, run.steps, training, BLUE)
    labels = [(end, "training,\nhints included" if run.has(HINT_TOKENS) else "training", BLUE)]
    if len(steps):
        look = {"markersize": 6, "elinewidth": 1.6, "linewidth": 1.2, "markeredgecolor": "white", "markeredgewidth": 1}
        errorbars(axes, steps, accuracy, error, color=VERMILION, **look)
        labels.append((accuracy[-1], "validation\n± std. error", VERMILION))
    note = ""
    if len(steps) > 1:
        title = _validation_title(accuracy)
    elif len(steps):
        title = f"Validation accuracy is {percent(accuracy[0])}"
    else:
        title, note = change_title(run, "Training accuracy", training, percent)
    values = np.concatenate([training[np.isfinite(training)], accuracy - error, accuracy + error])
    low = math.floor(values.min() * 10 - 0.3) / 10 if len(values) else 0.0
    high = math.ceil(values.max() * 10 + 0.3) / 10 if len(values) else 1.0
    step_axis(axes, run.steps)
    percent_axis(axes, max(low, 0.0), min(high, 1.0) + (0.01 if high >= 1 else 0))
    dress(axes, title, f"Correct answers; training: each step and its moving mean{note}", "accuracy")
    label_ends(axes, labels)


def _validation_title(accuracy: np.ndarray) -> str:
    first, last = percent(accuracy[0]), percent(accuracy[-1])
    if first != last:
        verb = "rose" if accuracy[-1] > accuracy[0] else "fell"
        return f"Validation accuracy {verb} from {first} to {last}"
    flat = len({percent(value) for value in accuracy}) == 1
    return f"Validation accuracy {'stayed' if flat else 'began and ended'} at {last}"


def degeneration(axes, run: RunData) -> None:
    """Shares of all-success, all-fail and mixed groups as a stacked area."""
    success, fail = run.get(names.ALL_SUCCESS), run.get(names.ALL_FAIL)
    known = np.isfinite(success)
    steps = run.steps[known]
    if known.any():
        window = window_for(len(steps))
        below = smooth(success[known], window)
        above = below + smooth(np.nan_to_num(fail[known]), window)
        if len(steps) == 1:  # an area needs two points
            steps, below, above = np.array([steps[0] - 0.5, steps[0] + 0.5]), below.repeat(2), above.repeat(2)
        axes.fill_between(steps, 0, below, color=ORANGE, alpha=0.6, linewidth=0)
        axes.fill_between(steps, below, above, color=GREY, alpha=0.55, linewidth=0)
        axes.fill_between(steps, above, 1, color=BLUE, alpha=0.13, linewidth=0)
        for edge in (below, above):
            axes.plot(steps, edge, color="white", linewidth=1.4)
        labels = [
            (below[-1] / 2, "all success", ORANGE),
            ((below[-1] + above[-1]) / 2, "all fail", MUTED),
            ((1 + above[-1]) / 2, "mixed", BLUE),
        ]
    step_axis(axes, run.steps[known] if known.any() else run.steps)
    percent_axis(axes)
    title, note = change_title(run, "All-success groups", success, percent)
    dress(axes, title, f"Groups by outcome, moving means{note}", "share of groups")
    if known.any():
        label_ends(axes, labels)


def zero_advantage(axes, run: RunData) -> None:
    """Share of the response tokens with an advantage of 0."""
    values = run.get(names.ZERO_ADVANTAGE)
    raw_and_smooth(axes, run.steps, values, ORANGE)
    step_axis(axes, run.steps)
    percent_axis(axes)
    title, note = change_title(run, "Tokens with zero advantage", values, percent)
    dress(axes, title, f"They have no policy gradient{note}", "share of response tokens")


def timing(axes, run: RunData) -> None:
    """Seconds of each phase of a step, stacked."""
    phases = run.phases()
    bars = min(max(len(run.steps), 1), TIMING_BARS)
    groups = np.array_split(np.arange(len(run.steps)), bars)
    groups = [group for group in groups if len(group)]
    centres = np.array([run.steps[group].mean() for group in groups])
    width = np.ptp(run.steps) / (len(groups) - 1) if len(groups) > 1 else 1.0
    edges = np.append(centres - width / 2, centres[-1:] + width / 2)
    bottom = np.zeros(len(groups))
    rows = []
    for index, (name, values) in enumerate(phases.items()):
        height = np.array([values[group].mean() for group in groups])
        colour = CYCLE[index % len(CYCLE)]
        axes.stairs(bottom + height, edges, baseline=bottom, fill=True, color=colour, alpha=0.85, linewidth=0)
        rows.append((name, float(values.sum()), float((bottom + height / 2).mean()), colour))
        bottom = bottom + height
    total = sum(row[1] for row in rows)
    step_axis(axes, run.steps)
    axes.set_xlim(edges[0], edges[-1])
    number_axis(axes.yaxis)
    axes.set_ylim(0, (bottom.max() if len(bottom) else 0) * 1.06 or 1.0)
    axes.grid(False, axis="x")
    title = f"{rows[0][0].capitalize()}: {percent(rows[0][1] / total)} of the time" if rows else "No timings recorded"
    dress(axes, title, f"Seconds a step by phase; shares are of {_duration(total)} in all", "seconds")
    label_ends(axes, [(y, f"{name}  {percent(seconds / total)}", colour) for name, seconds, y, colour in rows])


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
