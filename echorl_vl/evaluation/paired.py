"""Statistics of paired differences (scipy's): B minus A on the same questions, or over the same seeds."""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from echorl_vl.evaluation.benchmarks.base import cluster_numbers

try:
    from scipy import stats
except ModuleNotFoundError as error:
    message = f"comparing results needs scipy ({error}): pip install 'echorl-vl[eval]'"
    raise ModuleNotFoundError(message, name="scipy") from error

RESAMPLES = 10_000
LEVEL = 0.95
EXACT_PAIRS = 16  # all 2^16 sign assignments are enumerated; for more pairs, as many are sampled
_BATCH_VALUES = 4_000_000  # numbers in memory at once
_ROUNDING_ERROR = 1e-12  # equal sums, added in different orders, differ by less


@dataclass(frozen=True)
class Difference:
    """Accuracy of B minus accuracy of A.

    Attributes:
        value: the difference.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        standard_error: standard deviation of the bootstrap distribution.
        p_not_better: P(B <= A), the share of resamples in which B is not better than A; ties count half.
        sign_flip_p: two-sided p value of the paired permutation test.
        means: (R,) difference in each resample.
        shares: (C,) contribution of each cluster to `value`; they add up to it.
    """

    value: float
    low: float
    high: float
    standard_error: float
    p_not_better: float
    sign_flip_p: float
    means: np.ndarray
    shares: np.ndarray

    @property
    def verdict(self) -> str:
        """ "B is better", "A is better" or "no difference shown".

        A difference is shown if the interval excludes 0 and the permutation test gives p <= 0.05. The bootstrap alone
        is overconfident when few questions differ: with four wins and no loss, hardly any resample is without a win.
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
    """Bootstrap the mean difference over clusters of questions (Efron and Tibshirani, 1993; percentile interval).

    The difference in a resample is the sum over all questions of the sampled clusters, divided by the number of these
    questions. The permutation test flips all questions of a cluster together.

    Args:
        differences: (Q,) accuracy of B minus accuracy of A on each question, each averaged over its n responses.
        seed: seed of the resampling.
        resamples: number of resamples, R.
        name: second part of the seed: benchmarks of one size get independent resamples.
        clusters: (Q,) `Question.cluster` of each question; None if each question is its own cluster.

    Raises:
        ValueError: there are no questions.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no questions")
    numbers = cluster_numbers([""] * values.size if clusters is None else clusters)
    sums, sizes = np.bincount(numbers, values), np.bincount(numbers)
    shares = sums / values.size
    if sums.size == 1:  # scipy resamples two clusters or more
        return _difference(shares, np.full(resamples, shares[0]))
    found = stats.bootstrap(
        (sums, sizes),
        lambda sums, sizes, axis: sums.sum(axis=axis) / sizes.sum(axis=axis),
        n_resamples=resamples,
        batch=max(1, _BATCH_VALUES // sums.size),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng([seed, zlib.crc32(name.encode())]),
    )
    return _difference(shares, found.bootstrap_distribution)


def mean_difference(parts: Sequence[Difference]) -> Difference:
    """The mean over benchmarks, each with the same weight. Each benchmark is resampled independently."""
    shares = np.concatenate([part.shares / len(parts) for part in parts])
    return _difference(shares, np.mean([part.means for part in parts], axis=0))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p value of the paired permutation test (Fisher, The Design of Experiments, 1935).

    Under the null hypothesis both signs of each difference are equally likely. p is the share of sign assignments whose
    sum is at least as far from 0 as the observed one. With up to `EXACT_PAIRS` non-zero differences all 2^n assignments
    are enumerated; with more, 2^16 - 1 are sampled, with a fixed seed. The smallest possible p is 2 / 2^n: 0.0625 for
    five pairs.

    Args:
        differences: (n,) differences; nan and infinity are ignored.

    Returns:
        p, or nan if there are no differences.
    """
    values = np.array([value for value in differences if math.isfinite(value)])
    if not len(values):
        return math.nan
    values = values[values != 0]  # either sign of a zero gives the same sum
    if len(values) < 2:
        return 1.0
    largest = np.abs(values).sum()

    def distance(flipped: np.ndarray, axis: int) -> np.ndarray:
        return np.round(np.abs(flipped.sum(axis=axis)) / largest / _ROUNDING_ERROR)

    if len(values) <= EXACT_PAIRS:
        test = stats.permutation_test(
            (values,),
            distance,
            permutation_type="samples",
            vectorized=True,
            n_resamples=2**EXACT_PAIRS,
            alternative="greater",
        )
        return float(test.pvalue)
    rng = np.random.default_rng(0)
    test = stats.monte_carlo_test(
        values,
        lambda size: values * (2 * rng.integers(0, 2, size, dtype=np.int8) - 1),
        distance,
        vectorized=True,
        n_resamples=2**EXACT_PAIRS - 1,
        batch=max(1, _BATCH_VALUES // len(values)),
        alternative="greater",
    )
    return float(test.pvalue)


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Student's confidence interval (low, high) of the mean of two or more values."""
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = error * float(stats.t.ppf((1 + level) / 2, len(values) - 1))
    return mean - reach, mean + reach


def _difference(shares: np.ndarray, means: np.ndarray) -> Difference:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    ties = np.isclose(means, 0.0, atol=_ROUNDING_ERROR)
    p_not_better = float(np.mean((means < 0) & ~ties) + np.mean(ties) / 2)
    value, error = float(shares.sum()), float(means.std(ddof=1))
    return Difference(value, float(low), float(high), error, p_not_better, sign_flip_p(shares), means, shares)
