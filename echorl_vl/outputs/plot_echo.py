"""Panels on the echo term: its loss, the entropy of the steps that its clips end with, their length, the gradients."""

from __future__ import annotations

import math

import numpy as np

from echorl_vl.core import metric_names as names
from echorl_vl.outputs.plot_data import ECHO_GRAD, POLICY_GRAD, RunData, change_title, edge_label, ends, over_clips
from echorl_vl.outputs.plot_style import (
    BLUE,
    GREEN,
    PURPLE,
    VERMILION,
    dress,
    first_upper,
    label_ends,
    percent_axis,
    quantity,
    raw_and_smooth,
    step_axis,
    value_axis,
)
from echorl_vl.outputs.summary import why_no_clip, why_no_term
from echorl_vl.shares import percent


def echo_loss(axes, run: RunData) -> None:
    """The echo loss without its coefficient; empty for a run without a clip."""
    values = _of_clips(run, names.ECHO_LOSS)
    raw_and_smooth(axes, run.steps, values, PURPLE)
    outliers = value_axis(axes, run.steps, values, unit="nats")
    coef = run.get(names.ECHO_COEF)
    coef = coef[np.isfinite(coef)]
    weight = ""
    if len(coef):
        low, high = quantity(float(coef.min())), quantity(float(coef.max()))
        weight = f"; echo.coef = {high if low == high else f'{low} to {high}'}"
    missing, mean, zero = "the echo term", "prompts", "; 0 for a prompt without a clip"
    if over_clips(run.echo):
        missing, mean, zero = "a clip", "clips", ""
    title, note = change_title(run, "Echo loss", values, quantity, "nats", missing)
    if (without := run.clipless()) and not over_clips(run.echo):
        zero = ""
        note += f"; 0 in {without} step{'' if without == 1 else 's'} without a clip"
    subtitle = f"Negative log-likelihood of EchoClips{zero}{weight}{note}{outliers}"
    _dress_of_clips(axes, run, title, subtitle, f"nats per token, mean over {mean}")


def step_entropy(axes, run: RunData) -> None:
    """Entropy of the steps that clips end with and the mean of all steps; of all tokens in a run without steps."""
    clips, every = run.get(names.ECHO_CLIP_STEP_ENTROPY), run.get(names.ECHO_STEP_ENTROPY_MEAN)
    if not run.has(names.ECHO_CLIP_STEP_ENTROPY) and not run.has(names.ECHO_STEP_ENTROPY_MEAN):
        return _without_steps(axes, run)
    labels = [
        (raw_and_smooth(axes, run.steps, clips, VERMILION), "last steps\nof clips", VERMILION),
        (raw_and_smooth(axes, run.steps, every, BLUE), "all steps", BLUE),
    ]
    outliers = value_axis(axes, run.steps, clips, every, unit="nats")
    _, last, _ = ends(clips)
    _, mean, _ = ends(np.where(np.isfinite(clips), every, math.nan))  # over the same training steps
    title, note = "Entropy of reasoning steps", ""
    if last and mean > 0:
        title = f"Clips end at {last / mean:.1f}x the mean step entropy"
        note = f"; title: {edge_label(run, clips, last_only=True, missing='a clip')}"
    _dress_of_clips(axes, run, title, f"Mean entropy over the tokens of a reasoning step{note}{outliers}", "nats")
    label_ends(axes, labels)


def _without_steps(axes, run: RunData) -> None:
    """The policy's entropy, and why the rollouts were not split into reasoning steps."""
    coef, start = run.echo.get("coef"), run.echo.get("start_step") or 0
    reason = "no echo term (echo.coef = 0)" if coef == 0 else "no entropy of reasoning steps was recorded"
    if coef and start >= run.steps.max(initial=0):
        reason = why_no_term(coef, start, int(run.steps.max(initial=0)))
    entropy = run.get(names.ENTROPY)
    if run.has(names.ENTROPY):
        raw_and_smooth(axes, run.steps, entropy, BLUE)
        outliers = value_axis(axes, run.steps, entropy, unit="nats")
        title, note = change_title(run, "Policy entropy", entropy, quantity, "nats")
        dress(axes, title, f"Mean over response tokens{note}; {reason}{outliers}", "nats")
    else:
        axes.set_axis_off()
        dress(axes, first_upper(reason), "The policy's entropy was not recorded either", "")


def clip_share(axes, run: RunData) -> None:
    """Length of a clip as a share of its rollout."""
    values = run.get(names.ECHO_CLIP_SHARE)
    raw_and_smooth(axes, run.steps, values, GREEN)
    step_axis(axes, run.steps)
    percent_axis(axes)
    _, last, count = ends(values)
    note = f"; title: {edge_label(run, values, last_only=True, missing='a clip')}" if count else ""
    title = f"A clip is {percent(last)} of its rollout"
    subtitle = f"Text tokens of the EchoClip over all tokens of its rollout{note}"
    _dress_of_clips(axes, run, title, subtitle, "share of the rollout's tokens")


def gradients(axes, run: RunData) -> None:
    """Gradient norms with and without the echo term if they were measured apart, else of the whole loss."""
    policy, echo, whole = run.get(*POLICY_GRAD), run.get(*ECHO_GRAD), run.get(names.GRAD_NORM)
    if np.isfinite(policy).any():
        labels = [(raw_and_smooth(axes, run.steps, policy, BLUE), "all other\nterms", BLUE)]
        labels += [(raw_and_smooth(axes, run.steps, echo, PURPLE), "echo term", PURPLE)]
        outliers = value_axis(axes, run.steps, policy, echo)
        title, note = change_title(run, "Gradient norm without the echo term", policy, quantity)
    else:
        labels = [(raw_and_smooth(axes, run.steps, whole, BLUE), "", BLUE)]
        outliers = value_axis(axes, run.steps, whole)
        title, note = change_title(run, "Gradient norm", whole, quantity)
    dress(axes, title, f"L2 norm before clipping, mean over a step's updates{note}{outliers}", "gradient norm")
    label_ends(axes, labels)


def _of_clips(run: RunData, name: str) -> np.ndarray:
    """(R,) the column; all NaN if the metrics say that the run has no clip."""
    values = run.get(name)
    return values if run.has_clips() or not run.has(names.ECHO_CLIPS) else np.full(len(values), math.nan)


def _dress_of_clips(axes, run: RunData, title: str, subtitle: str, ylabel: str) -> None:
    """`dress`, but a run without a clip says so and why."""
    if run.has(names.ECHO_CLIPS) and not run.has_clips():
        title, subtitle = "No EchoClip in this run", first_upper(why_no_clip(run.totals()))
    dress(axes, title, subtitle, ylabel)
