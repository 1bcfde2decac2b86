"""A standard error is not 0 because all trials have the same result."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from echorl_vl.shares import clustered_standard_error, known_error, wilson_error, wilson_interval


@pytest.mark.parametrize(("correct", "n", "z"), [(0, 6, 1.0), (6, 6, 1.0), (3, 10, 1.96), (1, 2, 0.5), (0, 200, 1.96)])
def test_the_interval_contains_the_shares_within_z_errors(correct, n, z):
    """By its definition: p is in it if |correct / n - p| <= z sqrt(p (1 - p) / n); looked for on a grid."""
    inside = [p for p in (i / 20_000 for i in range(20_001)) if abs(correct / n - p) <= z * math.sqrt(p * (1 - p) / n)]
    low, high = wilson_interval(correct / n, n, z)
    assert low == pytest.approx(inside[0], abs=1e-4) and high == pytest.approx(inside[-1], abs=1e-4)


@pytest.mark.parametrize(("correct", "n", "z"), [(0, 6, 1.0), (6, 6, 1.0), (3, 10, 1.96), (1, 2, 0.5), (7, 200, 1.96)])
def test_the_interval_of_a_count_is_scipys(correct, n, z):
    """scipy takes whole counts alone; here a share may be the mean of shares, such as 2.5 of 5 problems."""
    level = math.erf(z / math.sqrt(2))
    expected = binomtest(correct, n).proportion_ci(confidence_level=level, method="wilson")
    assert wilson_interval(correct / n, n, z) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_error_of_all_or_nothing():
    assert [wilson_error(0.0, 6), wilson_error(1.0, 6)] == pytest.approx([1 / 7, 1 / 7])
    assert known_error(0.0, 1.0, 200) == pytest.approx(1 / 201)
    assert known_error(0.02, 0.5, 200) == 0.02
    assert known_error(0.0, 1.5, 10) == 0.0  # a score, not a share
    assert math.isnan(known_error(math.nan, 0.5, 1))


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_of_a_validation(accuracy):
    assert clustered_standard_error([accuracy] * 6, 1) == pytest.approx(1 / 7)
    assert clustered_standard_error([accuracy] * 6, 2) == pytest.approx(1 / 4)  # three problems, not six
    assert math.isnan(clustered_standard_error([accuracy], 1))


def test_of_problems_that_are_all_half_correct():
    halves, thirds = clustered_standard_error([1.0, 0.0] * 4, 2), clustered_standard_error([1.0, 0.0, 0.0] * 7, 3)
    assert [halves, thirds] == pytest.approx([wilson_error(0.5, 4), wilson_error(1 / 3, 7)])
    assert halves > 0.2 and thirds > 0.1
