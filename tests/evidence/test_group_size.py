"""The share of all-success groups, estimated from one large sample."""

from __future__ import annotations

import itertools
import random

import pytest

from echorl_vl.evidence.experiments.group_size import all_success_share


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_the_share_equals_that_over_all_subsets(size):
    outcomes = [[True] * 6, [True, True, False, True, True, False], [False] * 6, [True] * 5 + [False]]
    shares = [
        sum(all(group) for group in groups) / len(groups)
        for groups in (list(itertools.combinations(one, size)) for one in outcomes)
    ]
    assert all_success_share([sum(one) for one in outcomes], 6, size) == pytest.approx(sum(shares) / 4)


def test_the_estimate_is_unbiased():
    """Its mean over many samples of 16 is p^n; that of (c / N)^n is too high."""
    rng, p, size = random.Random(0), 0.8, 8
    counts = [sum(rng.random() < p for _ in range(16)) for _ in range(20000)]
    assert all_success_share(counts, 16, size) == pytest.approx(p**size, abs=0.004)
    assert sum((count / 16) ** size for count in counts) / len(counts) > p**size + 0.02


@pytest.mark.parametrize("size", [0, 17])
def test_a_group_size_out_of_range_is_refused(size):
    with pytest.raises(ValueError, match="can't be sampled from 16"):
        all_success_share([3], 16, size)
