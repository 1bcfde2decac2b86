"""The panels that are drawn from metrics: each draws one question's answer into given axes and says it in its title."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from echorl_vl.core import metric_names as names
from echorl_vl.outputs.plot_data import (
    ECHO_GRAD,
    HINT_TOKENS,
    POLICY_GRAD,
    RunData,
    edge_label,
    ends,
    has_gaps,
    over_clips,
)
from echorl_vl.outputs.plot_style import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILION,
    dress,
    errorbars,
    label_ends,
    number_axis,
    percent_axis,
    quantity,
    raw_and_smooth,
    smooth,
    step_axis,
    window_for,
)
from echorl_vl.outputs.summary import why_no_clip, why_no_term
from echorl_vl.shares import percent

TIMING_BARS = 200  # more steps than this are averaged into so many bars


def learning(axes, run: RunData) -> None:
    """Training accuracy, raw and smoothed, and validation accuracy with its standard error."""
    training = run.get(names.ACCURACY)
    steps, accuracy, error = run.heldout()
    end = raw_and_smooth(axes, run.steps, training, BLUE)
    labels = [(end, "training,\nhints included" if run.has(HINT_TOKENS) else "training", BLUE)]
    if len(steps):
        look = {"markersize": 6, "elinewidth": 1.6, "linewidth": 1.2, "markeredgecolor": "white", "markeredgewidth": 1}
        errorbars(axes, steps, accuracy, error, color=VERMILION, **look)
        labels.append((accuracy[-1], "validation\n± std. error", VERMILION))
    note = ""
    if len(steps) > 1:
        first, last = percent(accuracy[0]), percent(accuracy[-1])
        change = accuracy[-1] - accuracy[0]
        verb = "rose" if change > 0 else "fell"
        title = f"Validation accuracy stayed at {last}"
        if first != last:
            title = f"Validation accuracy {verb} from {first} to {last}"
    elif len(steps):
        title = f"Validation accuracy is {percent(accuracy[0])}"
    else:
        title, note = _went(run, "Training accuracy", training, percent)
    values = np.concatenate([training[np.isfinite(training)], accuracy - error, accuracy + error])
    low = math.floor(values.min() * 10 - 0.3) / 10 if len(values) else 0.0
    high = math.ceil(values.max() * 10 + 0.3) / 10 if len(values) else 1.0
    step_axis(axes, run.steps)
    percent_axis(axes, max(low, 0.0), min(high, 1.0) + (0.01 if high >= 1 else 0))
    dress(axes, title, f"Correct answers; training: each step and its moving mean{note}", "accuracy")
    label_ends(axes, labels)


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
            (below[-1] / 2, "all success", "#A06A00"),
            ((below[-1] + above[-1]) / 2, "all fail", MUTED),
            ((1 + above[-1]) / 2, "mixed", "#2F6C98"),
        ]
    step_axis(axes, run.steps[known] if known.any() else run.steps)
    percent_axis(axes)
    title, note = _went(run, "All-success groups", success, percent)
    dress(axes, title, f"Groups by outcome, moving means{note}", "share of groups")
    if known.any():
        label_ends(axes, labels)


def zero_advantage(axes, run: RunData) -> None:
    """Share of the response tokens whose advantage is 0."""
    values = run.get(names.ZERO_ADVANTAGE)
    raw_and_smooth(axes, run.steps, values, ORANGE)
    step_axis(axes, run.steps)
    percent_axis(axes)
    title, note = _went(run, "Tokens with zero advantage", values, percent)
    dress(axes, title, f"They add nothing to the policy term{note}", "share of response tokens")


def echo_loss(axes, run: RunData) -> None:
    """The echo loss before its coefficient; nothing in a run without a clip."""
    values = _of_clips(run, names.ECHO_LOSS)
    raw_and_smooth(axes, run.steps, values, PURPLE)
    _from_zero(axes, run, values)
    coef = run.get(names.ECHO_COEF)
    coef = coef[np.isfinite(coef)]
    weight = ""
    if len(coef):
        low, high = quantity(float(coef.min())), quantity(float(coef.max()))
        weight = f", enters the loss times {high if low == high else f'{low} to {high}'}"
    lacks, mean, zero = "the echo term", "prompts", " (0 for a prompt without one)"
    if over_clips(run.echo):
        lacks, mean, zero = "a clip", "clips", ""
    title, note = _went(run, "Echo loss", values, quantity, lacks)
    if (without := run.clipless()) and not over_clips(run.echo):
        note += f"; 0 in {without} step{'' if without == 1 else 's'} without a clip"
    _dress_of_clips(axes, run, title, f"NLL a token of the EchoClips{zero}{weight}{note}", f"nats, mean over {mean}")


def step_entropy(axes, run: RunData) -> None:
    """Entropy of the steps that the clips end with, beside the mean of all; of all tokens where none was split."""
    clips, every = run.get(names.ECHO_CLIP_STEP_ENTROPY), run.get(names.ECHO_STEP_ENTROPY_MEAN)
    if not run.has(names.ECHO_CLIP_STEP_ENTROPY) and not run.has(names.ECHO_STEP_ENTROPY_MEAN):
        return _without_steps(axes, run)
    labels = [
        (raw_and_smooth(axes, run.steps, clips, VERMILION), "the clips'\nlast steps", VERMILION),
        (raw_and_smooth(axes, run.steps, every, BLUE), "all steps", BLUE),
    ]
    _from_zero(axes, run, clips, every)
    _, last, _ = ends(clips)
    _, mean, _ = ends(np.where(np.isfinite(clips), every, math.nan))  # of the same training steps
    title, note = "Entropy of reasoning steps", ""
    if last and mean > 0:
        title = f"Clips end at {last / mean:.1f}x the mean step entropy"
        note = f"; title: {edge_label(run, clips, last_only=True, what='a clip')}"
    _dress_of_clips(axes, run, title, f"Mean entropy of a reasoning step's tokens{note}", "nats")
    label_ends(axes, labels)


def _without_steps(axes, run: RunData) -> None:
    """The policy's entropy in a run whose rollouts were not split into steps, and why they were not."""
    coef, start = run.echo.get("coef"), run.echo.get("start_step") or 0
    reason = "no echo term (echo.coef = 0)" if coef == 0 else "no entropy of reasoning steps was recorded"
    if coef and start >= run.steps.max(initial=0):
        reason = why_no_term(coef, start, int(run.steps.max(initial=0)))
    entropy = run.get(names.ENTROPY)
    if run.has(names.ENTROPY):
        raw_and_smooth(axes, run.steps, entropy, BLUE)
        _from_zero(axes, run, entropy)
        title, note = _went(run, "Policy entropy", entropy, quantity)
        dress(axes, title, f"Mean over response tokens{note}; {reason}", "nats")
    else:
        axes.set_axis_off()
        dress(axes, reason[0].upper() + reason[1:], "The policy's entropy was not recorded either", "")


def clip_share(axes, run: RunData) -> None:
    """How much of its rollout a clip takes."""
    values = run.get(names.ECHO_CLIP_SHARE)
    raw_and_smooth(axes, run.steps, values, GREEN)
    step_axis(axes, run.steps)
    percent_axis(axes)
    _, last, count = ends(values)
    note = f"; title: {edge_label(run, values, last_only=True, what='a clip')}" if count else ""
    title = f"A clip is {percent(last)} of its rollout"
    _dress_of_clips(axes, run, title, f"Text tokens of the EchoClip over all of its rollout{note}", "clip share")


def gradients(axes, run: RunData) -> None:
    """Norms of the policy and the echo gradient where they were measured, else of the whole."""
    policy, echo, whole = run.get(*POLICY_GRAD), run.get(*ECHO_GRAD), run.get(names.GRAD_NORM)
    if np.isfinite(policy).any():
        labels = [(raw_and_smooth(axes, run.steps, policy, BLUE), "all other\nterms", BLUE)]
        labels += [(raw_and_smooth(axes, run.steps, echo, PURPLE), "echo term", PURPLE)]
        _from_zero(axes, run, policy, echo)
        title, note = _went(run, "Gradient norm without the echo term", policy, quantity)
    else:
        labels = [(raw_and_smooth(axes, run.steps, whole, BLUE), "", BLUE)]
        _from_zero(axes, run, whole)
        title, note = _went(run, "Gradient norm", whole, quantity)
    dress(axes, title, f"Before clipping, mean of a step's updates{note}", "gradient norm")
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
    number_axis(axes.yaxis)
    axes.set_ylim(0, (bottom.max() if len(bottom) else 0) * 1.06 or 1.0)
    axes.grid(False, axis="x")
    title = f"{rows[0][0].capitalize()}: {percent(rows[0][1] / total)} of the time" if rows else "No timings recorded"
    dress(axes, title, f"Seconds a step by phase; shares: of {_seconds(total)} that were timed", "seconds")
    label_ends(axes, [(y, f"{name}  {percent(seconds / total)}", colour) for name, seconds, y, colour in rows])


def _from_zero(axes, run: RunData, *columns: np.ndarray) -> None:
    """A y axis from 0 (or below, for negative values) to a little above the highest value of the columns."""
    values = np.concatenate([column[np.isfinite(column)] for column in columns])
    low, high = (min(0.0, float(values.min())), float(values.max())) if len(values) else (0.0, 0.0)
    step_axis(axes, run.steps)
    axes.set_ylim(low, high * 1.08 if high > 0 else max(-low * 0.08, 1.0 if low == 0 else 0.0))
    number_axis(axes.yaxis)


def _went(
    run: RunData, name: str, values: np.ndarray, form: Callable[[float], str], what: str = "a value"
) -> tuple[str, str]:
    """('Echo loss went from 0.15 to 0.04', a note for the subtitle that says of which steps); one number for one.

    `what`: what a step that has no such number lacks.
    """
    first, last, count = ends(values)
    note = f"; title: {edge_label(run, values, what=what)}" if count else ""
    if np.isfinite(values).sum() < 2:
        return f"{name}: {form(last)}", note if has_gaps(run, values) else ""
    if form(first) == form(last):
        return f"{name} stayed at {form(last)}", note
    return f"{name} went from {form(first)} to {form(last)}", note


def _of_clips(run: RunData, name: str) -> np.ndarray:
    """The column, all NaN in a run whose metrics say that it has no clip."""
    values = run.get(name)
    return values if run.has_clips() or not run.has(names.ECHO_CLIPS) else np.full(len(values), math.nan)


def _dress_of_clips(axes, run: RunData, title: str, subtitle: str, ylabel: str) -> None:
    """A run without a clip has no title about clips: it says that there is none, and why."""
    if run.has(names.ECHO_CLIPS) and not run.has_clips():
        title, subtitle = "No EchoClip in this run", why_no_clip(run.totals()).capitalize()
    dress(axes, title, subtitle, ylabel)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
