"""Intervals over seeds and verdicts, against tables."""

from __future__ import annotations

import math
import statistics

import pytest

from echorl_vl.evidence.statistics import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    Contrast,
    Interval,
    interval,
    verdict_of,
)


def test_the_interval_is_students_t():
    values = [0.1, 0.3, -0.1, 0.4, 0.2]
    reach = 2.77645 * statistics.stdev(values) / math.sqrt(5)
    found = interval(values)
    assert found.mean == pytest.approx(0.18)
    assert (found.low, found.high) == pytest.approx((0.18 - reach, 0.18 + reach), abs=1e-6)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Interval(0.5, 0.25, 0.75), "0.500 (0.250 to 0.750)"),
        (Interval(0.015, -0.0004, 0.022), "0.015 (0.000 to 0.022)"),
        (Interval(0.00103, 0.00091, 0.00115), "0.00103 (0.00091 to 0.00115)"),
        (Interval(0.0, 0.0, 0.0), "0.000 (0.000 to 0.000)"),
        (Interval(-0.25, math.nan, math.nan), "-0.250"),
        (Interval(math.nan, math.nan, math.nan), "?"),
    ],
)
def test_the_numbers_of_an_interval_have_the_same_decimals(found, text):
    assert str(found) == text


def test_intervals_of_several_comparisons_are_wider():
    values = [0.1, 0.3, -0.1, 0.4, 0.2]
    five = interval(values, 5)
    assert five.high - five.mean == pytest.approx(4.60409 * statistics.stdev(values) / math.sqrt(5), abs=1e-4)


def test_missing_values_are_ignored():
    assert interval([0.1, math.nan, 0.3]) == interval([0.1, 0.3])
    one = interval([0.1])
    assert one.mean == 0.1 and math.isnan(one.low) and math.isnan(one.high)
    assert math.isnan(interval([]).mean)


HIGH, LOW, MIXED = (0.1, 0.11, 0.12), (-0.1, -0.11, -0.12), (0.1, -0.2, 0.05)


@pytest.mark.parametrize(
    ("values", "claimed", "verdict"),
    [
        (HIGH, "above", SUPPORTED),
        (HIGH, "below", NOT_SUPPORTED),
        (LOW, "above", NOT_SUPPORTED),
        (LOW, "below", SUPPORTED),
        (MIXED, "above", UNDECIDED),
        (HIGH, None, UNDECIDED),
        ((0.0, 0.0, 0.0), "above", UNDECIDED),
        ((0.5,), "above", UNDECIDED),
        ((math.nan,), "above", UNDECIDED),
    ],
)
def test_the_verdict_is_decided_by_the_side_of_zero(values, claimed, verdict):
    assert Contrast("x", values, claimed).verdict == verdict


def test_a_supported_claim_may_be_undecided_among_many():
    values = (0.02, 0.07, 0.05, 0.09, 0.03)
    assert Contrast("x", values, "above").verdict == SUPPORTED
    assert Contrast("x", values, "above", comparisons=100).verdict == UNDECIDED


def test_the_verdict_of_several_parts_is_the_worst():
    supported, contrary, undecided = (Contrast("x", values, "above") for values in (HIGH, LOW, MIXED))
    assert verdict_of([supported, supported]) == SUPPORTED
    assert verdict_of([supported, undecided]) == UNDECIDED
    assert verdict_of([supported, undecided, contrary]) == NOT_SUPPORTED
    assert verdict_of([]) == UNDECIDED
