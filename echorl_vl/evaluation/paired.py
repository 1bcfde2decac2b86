"""Paired tests: is B better than A on the same questions, or the same seeds, and how sure is that?"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from echorl_vl.evaluation.benchmarks.base import numbered

RESAMPLES = 10_000
LEVEL = 0.95
EXACT_PAIRS = 16  # 2^16 assignments of signs are enumerated; of more pairs that many are drawn
_CELLS = 4_000_000


@dataclass(frozen=True)
class Difference:
    """Accuracy of B minus accuracy of A. `low` to `high` is the 95 % interval, `standard_error` that of the difference.

    `not_better` is the share of the resamples in which B is not better than A, those with no difference counting half:
    the bootstrap's one-sided p value. `sign_flip_p` is the paired permutation test's, two-sided. `means` are the
    resamples' differences, (R,); `shares` the clusters' parts of `value`, (C,), whose sum it is.
    """

    value: float
    low: float
    high: float
    standard_error: float
    not_better: float
    sign_flip_p: float
    means: np.ndarray
    shares: np.ndarray

    @property
    def verdict(self) -> str:
        """ "B is better", "A is better" or "no difference shown".

        A difference is one where the interval leaves out 0 and the permutation test agrees at 5 %. With few questions
        that differ the bootstrap alone is too sure: of four wins and no loss hardly a resample has none.
        """
        if self.sign_flip_p > 1 - LEVEL:
            return "no difference shown"
        return "B is better" if self.low > 0 else "A is better" if self.high < 0 else "no difference shown"


def paired_bootstrap(
    differences: Sequence[float],
    seed: int = 0,
    resamples: int = RESAMPLES,
    name: str = "",
    clusters: Sequence[str] | None = None,
) -> Difference:
    """Resamples clusters of questions with replacement (Efron and Tibshirani, 1993; percentile interval).

    A resample's difference is the sum over the questions of the clusters drawn, divided by the number of these
    questions. The permutation test flips a cluster as one. Two benchmarks of the same size draw apart if their
    `name`s differ.

    Args:
        differences: (Q,) accuracy of B minus accuracy of A on each question, each the mean over its n responses, so
            that responses to one question stay together.
        clusters: (Q,) `Question.cluster` of each; None: every question is one of its own.

    Raises ValueError for no question.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no questions")
    numbers = numbered([""] * values.size if clusters is None else clusters)
    sums, sizes = np.bincount(numbers, values), np.bincount(numbers)
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    rows = max(1, _CELLS // sums.size)
    means = []
    for start in range(0, resamples, rows):
        drawn = random.integers(0, sums.size, (min(rows, resamples - start), sums.size))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return _of(sums / values.size, np.concatenate(means))


def mean_difference(parts: Sequence[Difference]) -> Difference:
    """The mean over benchmarks, each resampled on its own (`name`): every benchmark counts the same."""
    shares = np.concatenate([part.shares / len(parts) for part in parts])
    return _of(shares, np.mean([part.means for part in parts], axis=0))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the paired permutation test (Fisher, The Design of Experiments, 1935).

    Were the two sides of each pair exchangeable, every difference could as well have the other sign. p is the share of
    all 2^n assignments of signs whose sum is at least as far from zero as the one found; up to `EXACT_PAIRS` pairs that
    differ all are enumerated, of more a sample is drawn. The least that n pairs can give is 2 / 2^n: 0.0625 for five.
    Values that are not finite are passed over; nan without any value.
    """
    values = np.array([value for value in differences if math.isfinite(value)])
    if not len(values):
        return math.nan
    values = values[values != 0]  # either sign of a zero gives the same sum
    slack = 1e-12 * np.abs(values).sum()  # equal sums may differ in their last bits
    reached = abs(values.sum()) - slack
    if len(values) <= EXACT_PAIRS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
        return float((np.abs(signs @ values) >= reached).mean())
    random, drawn, extreme = np.random.default_rng(0), 2**EXACT_PAIRS - 1, 1  # the assignment found is one of them
    rows = max(1, _CELLS // len(values))
    for start in range(0, drawn, rows):
        kept = random.integers(0, 2, (min(rows, drawn - start), len(values)), dtype=np.int8)
        extreme += int((np.abs(2 * (kept @ values) - values.sum()) >= reached).sum())
    return extreme / (drawn + 1)


def _of(shares: np.ndarray, means: np.ndarray) -> Difference:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Sums of the same numbers in another order differ in the last bit: that is no difference.
    ties = np.isclose(means, 0.0, atol=1e-12)
    not_better = float(np.mean((means < 0) & ~ties) + np.mean(ties) / 2)
    value, error = float(shares.sum()), float(means.std(ddof=1))
    return Difference(value, float(low), float(high), error, not_better, sign_flip_p(shares), means, shares)
