"""Alerts on made-up histories: each rule begins where it should, once, and stays silent on a healthy run."""

from __future__ import annotations

import logging
import math

import pytest

from echorl_vl.outputs.alerts import RULES, AlertMonitor, alerts_of
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.tracker import Tracker

HEALTHY = {
    "reward/accuracy": 0.5,
    "actor/entropy": 0.3,
    "response_length/mean": 100.0,
    "response_length/clip_ratio": 0.0,
    "group/degenerate": 0.4,
    "echo/coef": 0.001,
    "echo/clips": 4.0,
    "actor/skipped_steps": 0.0,
    "reward/timeouts": 0.0,
}


def history(steps: int, **changes):
    """Rows of a run; a change is a function of the step, with `__` for the slash of the metric."""
    rows = []
    for step in range(1, steps + 1):
        values = {name.replace("__", "/"): change(step) for name, change in changes.items()}
        rows.append({"step": step, **HEALTHY, **values})
    return rows


def test_a_healthy_run_has_no_alert():
    assert alerts_of(history(100, reward__accuracy=lambda step: 0.3 + step / 200)) == []


@pytest.mark.parametrize(
    ("rule", "step", "changes", "message"),
    [
        (
            "reward_collapse",
            24,
            {"reward__accuracy": lambda step: 0.6 if step <= 20 else 0.1},
            "training accuracy fell from 60.0% to 20.0% (means of 5 steps)",
        ),
        (
            "response_length",
            24,
            {"response_length__mean": lambda step: 100 if step <= 20 else 20},
            "responses shrank from 100 to 36 tokens (first and last 5 steps)",
        ),
        (
            "response_length",
            23,
            {"response_length__mean": lambda step: 100 if step <= 20 else 400},
            "responses grew from 100 to 280 tokens (first and last 5 steps)",
        ),
        (
            "entropy_collapse",
            25,
            {"actor__entropy": lambda step: 0.3 if step <= 20 else 0.01},
            "the policy's entropy fell from 0.3000 to 0.0100 nats (first and last 5 steps)",
        ),
        (
            "truncated",
            14,
            {"response_length__clip_ratio": lambda step: 0.8 if step >= 10 else 0.2},
            "80% of the responses hit data.max_response_length (last 5 steps)",
        ),
        (
            "reward_failures",
            14,
            {"reward__timeouts": lambda step: 2.0 if step >= 10 else 0.0},
            "the reward function failed on 10 answers in the last 5 steps",
        ),
        (
            "skipped_steps",
            7,
            {"actor__skipped_steps": lambda step: 1.0 if step in (7, 8) else 0.0},
            "1 optimizer steps were not finite and were skipped",
        ),
        (
            "no_advantage",
            19,
            {"group__degenerate": lambda step: 1.0 if step >= 10 else 0.5},
            "over 95% of the groups have no advantage (last 10 steps): the problems are too easy or too hard",
        ),
        (
            "no_clip",
            25,
            {"echo__clips": lambda step: 0.0 if step >= 6 else 3.0},
            "no clip in the last 20 steps, so the echo term was 0",
        ),
    ],
)
def test_a_rule_begins_once(rule, step, changes, message):
    [alert] = alerts_of(history(40, **changes))
    assert (alert.rule, alert.step, alert.message) == (rule, step, message)
    assert rule in RULES


def test_an_alert_comes_again_after_its_condition_has_ended():
    rows = history(30, actor__skipped_steps=lambda step: 1.0 if step in (3, 20) else 0.0)
    assert [alert.step for alert in alerts_of(rows)] == [3, 20]


def test_a_run_without_an_echo_term_lacks_no_clips():
    assert alerts_of(history(60, echo__coef=lambda step: 0.0, echo__clips=lambda step: 0.0)) == []


def test_missing_and_infinite_values_and_validations_are_left_out():
    rows = history(40, actor__entropy=lambda step: math.nan, response_length__mean=lambda step: None)
    rows = [row for each in rows for row in (each, {"step": each["step"], "val/accuracy": 0.0})]
    assert alerts_of(rows) == []


def test_earlier_rows_of_a_resumed_run_are_the_baseline_and_give_no_alert():
    rows = history(40, actor__entropy=lambda step: 0.3 if step <= 20 else 0.01)
    whole = alerts_of(rows)
    resumed = AlertMonitor(rows[:22])
    assert [alert for row in rows[22:] for alert in resumed.step(row["step"], row)] == whole
    assert AlertMonitor(rows).step(41, rows[-1]) == []  # it has begun before


def test_the_tracker_warns_during_training(tmp_path, caplog):
    run = RunFolder.attach(tmp_path, None)
    with caplog.at_level(logging.WARNING, logger="echorl_vl"), Tracker(run, ("file",)) as tracker:
        for row in history(8, actor__skipped_steps=lambda step: 2.0 if step == 7 else 0.0):
            tracker.log(row["step"], {name: value for name, value in row.items() if name != "step"})
    assert [record.getMessage() for record in caplog.records] == [
        "step 7: 2 optimizer steps were not finite and were skipped"
    ]
