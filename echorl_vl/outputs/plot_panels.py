"""The panels that are drawn from metrics: each draws one question's answer into given axes and says it in its title."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.ticker import MaxNLocator

from echorl_vl.core import metric_names as names
from echorl_vl.outputs.plot_data import ECHO_GRAD, POLICY_GRAD, RunData, ends
from echorl_vl.outputs.plot_style import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILION,
    dress,
    label_ends,
    percent,
    percent_axis,
    quantity,
    raw_and_smooth,
    smooth,
    step_axis,
    window_for,
)

TIMING_BARS = 200  # more steps than this are averaged into so many bars


def learning(axes, run: RunData) -> None:
    """Training accuracy, raw and smoothed, and held-out accuracy with its standard error."""
    training = run.get(names.ACCURACY)
    steps, accuracy, error = run.heldout()
    end = raw_and_smooth(axes, run.steps, training, BLUE)
    labels = [(end, "training", BLUE)]
    if len(steps):
        axes.errorbar(
            steps,
            accuracy,
            error,
            color=VERMILION,
            marker="o",
            markersize=6,
            capsize=0,
            elinewidth=1.6,
            linewidth=1.2,
            markeredgecolor="white",
            markeredgewidth=1,
            zorder=5,
            clip_on=False,
        )
        labels.append((accuracy[-1], "held-out\n± std. error", VERMILION))
    if len(steps) > 1:
        change = accuracy[-1] - accuracy[0]
        verb = "rose" if change > 0.005 else "fell" if change < -0.005 else "stayed"
        title = f"Held-out accuracy {verb} from {percent(accuracy[0])} to {percent(accuracy[-1])}"
    elif len(steps):
        title = f"Held-out accuracy is {percent(accuracy[0])}"
    else:
        title = _went("Training accuracy", training, percent)
    values = np.concatenate([training[np.isfinite(training)], accuracy - error, accuracy + error])
    low = math.floor(values.min() * 10 - 0.3) / 10 if len(values) else 0.0
    high = math.ceil(values.max() * 10 + 0.3) / 10 if len(values) else 1.0
    step_axis(axes, run.steps)
    percent_axis(axes, max(low, 0.0), min(high, 1.0) + (0.01 if high >= 1 else 0))
    dress(axes, title, "Share of right answers; training: each step and its moving mean", "accuracy")
    label_ends(axes, labels)


def degeneration(axes, run: RunData) -> None:
    """Shares of all-success, all-fail and mixed groups as a stacked area; tokens with zero advantage as a line.

    The degenerate groups lie together at the bottom: the line follows their upper edge where lengths are equal.
    """
    success, fail = run.get(names.ALL_SUCCESS), run.get(names.ALL_FAIL)
    known = np.isfinite(success)
    zero = run.get(names.ZERO_ADVANTAGE)
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
            (below[-1] / 2, "all success", "#A06A00"),
            ((below[-1] + above[-1]) / 2, "all fail", MUTED),
            ((1 + above[-1]) / 2, "mixed", "#2F6C98"),
        ]
        if np.isfinite(zero[known]).any():
            line = smooth(zero[known], window)
            line = line.repeat(len(steps) // len(line))
            axes.plot(steps, line, color=INK, linewidth=1.8, linestyle=(0, (1.5, 1.5)))
            labels.append((line[np.isfinite(line)][-1], "tokens with\nzero advantage", INK))
    step_axis(axes, run.steps[known] if known.any() else run.steps)
    percent_axis(axes)
    dress(
        axes,
        _went("All-success groups", success, percent),
        "Groups by outcome, smoothed: equal rewards give no policy gradient",
        "share of groups",
    )
    if known.any():
        label_ends(axes, labels)


def echo_loss(axes, run: RunData) -> None:
    """The echo loss before its coefficient."""
    values = run.get(names.ECHO_LOSS)
    raw_and_smooth(axes, run.steps, values, PURPLE)
    coef = run.get(names.ECHO_COEF)
    coef = coef[np.isfinite(coef)]
    weight = f", enters the loss times {quantity(float(coef[-1]))}" if len(coef) else ""
    _from_zero(axes, run, values)
    dress(
        axes,
        _went("Echo loss", values, quantity),
        f"NLL of the EchoClips{weight}",
        "nats per token",
    )


def step_entropy(axes, run: RunData) -> None:
    """Entropy of the steps that clips end with, beside the mean of all steps."""
    highest, mean = run.get(names.ECHO_STEP_ENTROPY_MAX), run.get(names.ECHO_STEP_ENTROPY_MEAN)
    labels = [
        (raw_and_smooth(axes, run.steps, highest, VERMILION), "the clip's\nlast step", VERMILION),
        (raw_and_smooth(axes, run.steps, mean, BLUE), "all steps", BLUE),
    ]
    ratio = ends(highest)[1] / ends(mean)[1] if ends(mean)[1] else math.nan
    _from_zero(axes, run, highest, mean)
    found = (
        f"Clips end where entropy is {ratio:.1f}x the mean" if math.isfinite(ratio) else "Entropy of reasoning steps"
    )
    dress(axes, found, "Mean entropy of a reasoning step's tokens", "nats")
    label_ends(axes, labels)


def clip_share(axes, run: RunData) -> None:
    """How much of its rollout a clip takes."""
    values = run.get(names.ECHO_CLIP_SHARE)
    raw_and_smooth(axes, run.steps, values, GREEN)
    step_axis(axes, run.steps)
    percent_axis(axes)
    dress(
        axes,
        f"A clip is {percent(ends(values)[1])} of its rollout",
        "Tokens of the EchoClip over those of its rollout",
        "clip share",
    )


def gradients(axes, run: RunData) -> None:
    """Norms of the policy and the echo gradient where they were measured, else of the whole."""
    policy, echo, whole = run.get(*POLICY_GRAD), run.get(*ECHO_GRAD), run.get(names.GRAD_NORM)
    if np.isfinite(policy).any():
        labels = [(raw_and_smooth(axes, run.steps, policy, BLUE), "policy", BLUE)]
        labels += [(raw_and_smooth(axes, run.steps, echo, PURPLE), "echo", PURPLE)]
        _from_zero(axes, run, policy, echo)
        title = _went("Policy gradient norm", policy, quantity)
    else:
        labels = [(raw_and_smooth(axes, run.steps, whole, BLUE), "", BLUE)]
        _from_zero(axes, run, whole)
        title = _went("Gradient norm", whole, quantity)
    dress(axes, title, "Norm before clipping", "gradient norm")
    label_ends(axes, labels)


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
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_ylim(0, (bottom.max() if len(bottom) else 0) * 1.06 or 1.0)
    axes.grid(False, axis="x")
    title = (
        f"{rows[0][0].capitalize()} takes {percent(rows[0][1] / total)} of the time" if rows else "No timings recorded"
    )
    dress(axes, title, f"Seconds a step by phase; at the right the share of {_seconds(total)}", "seconds")
    label_ends(axes, [(y, f"{name}  {_share(seconds / total)}", colour) for name, seconds, y, colour in rows])


def _from_zero(axes, run: RunData, *columns: np.ndarray) -> None:
    """A y axis from 0 (or below, for negative values) to a little above the highest value of the columns."""
    values = np.concatenate([column[np.isfinite(column)] for column in columns])
    low, high = (min(0.0, float(values.min())), float(values.max())) if len(values) else (0.0, 0.0)
    step_axis(axes, run.steps)
    axes.set_ylim(low, high * 1.08 if high > 0 else max(-low * 0.08, 1.0 if low == 0 else 0.0))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))


def _went(name: str, values: np.ndarray, form: Callable[[float], str]) -> str:
    """'Echo loss went from 0.15 to 0.04': means over the first and the last steps; one number for one step."""
    first, last, _ = ends(values)
    one = np.isfinite(values).sum() < 2
    return f"{name}: {form(last)}" if one else f"{name} went from {form(first)} to {form(last)}"


def _share(share: float) -> str:
    return percent(share) if share >= 0.01 else f"{100 * share:.1f} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
