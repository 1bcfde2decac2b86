"""The standard curves of a run: which there are, what their titles say, and how outliers are shown."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_run import metric_rows

from echorl_vl.outputs import plot_curves
from echorl_vl.outputs.plot_curves import curves_of, panel
from echorl_vl.outputs.plot_data import RunData
from echorl_vl.outputs.plot_style import new_figure, quantity, short_exponent, value_axis

STEPS = range(1, 13)  # the first five and the last five are 1 to 5 and 8 to 12, whose means are 3 and 10


def run_of(**metrics) -> RunData:
    """A run of twelve steps; a metric is a number, or a function of the step. "__" stands for "/"."""
    rows = []
    for step in STEPS:
        values = {name.replace("__", "/"): value(step) if callable(value) else value for name, value in metrics.items()}
        rows.append({"step": step, **values})
    return RunData.of(rows)


def texts_of(run: RunData) -> dict[str, tuple[str, str, str]]:
    """Title -> (subtitle, y label, labels of the curves) of each standard curve, each on one line."""
    found = {}
    for curve in curves_of(run):
        axes = new_figure(8, 5).add_subplot()
        panel(curve)(axes, run)
        subtitle, *labels = (" ".join(text.get_text().split()) for text in axes.texts)
        found[" ".join(axes.get_title(loc="left").split())] = subtitle, axes.get_ylabel(), ", ".join(labels)
    return found


def test_a_run_shows_the_curves_that_it_has_metrics_for():
    assert len(curves_of(RunData.of(metric_rows(12)))) == 9
    assert curves_of(run_of(echo__loss=1.0)) == []
    (curve,) = curves_of(run_of(actor__lr=1e-6))
    assert curve is plot_curves.LEARNING_RATE


@pytest.mark.parametrize(
    ("metrics", "title", "subtitle", "ylabel"),
    [
        (
            {"response_length__mean": lambda step: 100.0 * step},
            "Response length went from 300 to 1000 tokens",
            "Mean over rollouts; title: first 5 steps / last 5 steps",
            "tokens",
        ),
        (
            {"response_length__clip_ratio": 0.0},
            "Truncated responses stayed at 0 %",
            "Responses that reached data.max_response_length",
            "share of responses",
        ),
        (
            {"actor__entropy": lambda step: step / 10},
            "Policy entropy went from 0.3 to 1 nats",
            "Mean over response tokens; title: first 5 steps / last 5 steps",
            "nats per token",
        ),
        (
            {"actor__kl_loss": lambda step: step / 1000},
            "KL to the reference policy went from 0.003 to 0.01 nats",
            "Estimate of KL(policy, reference) per response token; title: first 5 steps / last 5 steps",
            "nats per token",
        ),
        (
            {"actor__ppo_kl": lambda step: 1e-9 * (-1) ** step},
            "KL to the policy of the rollouts stayed at 0 nats",
            "Estimate of KL(rollout policy, policy) per response token; all values are within 1e-6 of 0",
            "nats per token",
        ),
        (
            {"actor__lr": 5e-5},
            "Learning rate stayed at 5e-5",
            "Of the policy's optimizer",
            "learning rate",
        ),
        (
            {"actor__lr": lambda step: 1e-6 * min(step, 8)},
            "Learning rate went from 3e-6 to 8e-6",
            "Of the policy's optimizer; title: first 5 steps / last 5 steps",
            "learning rate",
        ),
    ],
)
def test_titles_say_what_the_numbers_are(metrics, title, subtitle, ylabel):
    assert texts_of(run_of(**metrics)) == {title: (subtitle, ylabel, "")}


def test_the_parts_of_the_reward_are_one_panel_without_counts_of_failures():
    run = run_of(reward__format=1.0, reward__accuracy=0.5, reward__overall=lambda step: step / 20, reward__timeouts=3.0)
    ((title, (_, _, labels)),) = texts_of(run).items()
    assert title == "Overall reward went from 0.15 to 0.5"
    assert set(labels.split(", ")) == {"overall", "accuracy", "format"}


def test_a_title_about_one_of_several_curves_names_it():
    flat = run_of(actor__pg_clipfrac_higher=0.0, actor__pg_clipfrac_lower=0.0)
    assert list(texts_of(flat)) == ["Clip fraction stayed at 0 %"]
    dual = run_of(actor__pg_clipfrac_higher=0.0, actor__pg_clipfrac_lower=lambda step: step / 100)
    assert list(texts_of(dual)) == ["Clip fraction (ratio clip) stayed at 0 %"]
    verl = run_of(actor__pg_clipfrac=lambda step: step / 100)
    assert list(texts_of(verl)) == ["Clip fraction went from 3 % to 10 %"]
    parts = run_of(reward__format=1.0, reward__accuracy=lambda step: step / 20)
    assert list(texts_of(parts)) == ["Reward (accuracy) went from 0.15 to 0.5"]


def test_outliers_are_marked_at_the_edge_and_counted_in_a_note():
    steps, values = np.arange(100), np.ones(100)
    values[[30, 60]] = 1.5, 88.0  # one outlier in a hundred steps
    axes = new_figure(8, 5).add_subplot()
    note = value_axis(axes, steps, values, unit="nats")
    assert note == "; 1 step above 1.5 (the 99th percentile), highest 88 nats"
    assert axes.get_ylim() == pytest.approx((0.0, 1.5 * 1.08))
    assert axes.lines[-1].get_xdata().tolist() == [60] and axes.lines[-1].get_marker() == "^"


def test_negative_outliers_are_marked_at_the_lower_edge():
    steps, values = np.arange(1, 51), np.linspace(-1, 1, 50)
    values[10] = -40.0
    axes = new_figure(8, 5).add_subplot()
    note = value_axis(axes, steps, values)
    assert note == "; 1 step below -1 (the 1st percentile), lowest -40"
    assert axes.get_ylim()[0] == pytest.approx(-1 - 0.16)
    assert axes.lines[-1].get_xdata().tolist() == [11] and axes.lines[-1].get_marker() == "v"


def test_a_curve_without_outliers_is_shown_whole():
    values = np.linspace(0, 3, 200)
    axes = new_figure(8, 5).add_subplot()
    assert value_axis(axes, np.arange(200), values) == ""
    assert axes.get_ylim()[1] >= 3 and not axes.lines


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.00123, "0.00123"), (5e-5, "5e-5"), (1.5e-10, "1.5e-10"), (2e5, "2e5"), (1e5, "1e5")],
)
def test_quantities(value, text):
    assert quantity(value) == text and float(text) == value


def test_numbers_without_an_exponent_stay():
    assert [short_exponent(text) for text in ("12.50", "1e+03", "-5.0e-05")] == ["12.50", "1e3", "-5e-5"]
