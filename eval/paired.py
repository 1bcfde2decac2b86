"""The paired bootstrap: is B better than A on the same questions, and how sure is that?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
_CELLS = 4_000_000


@dataclass(frozen=True)
class Difference:
    """Accuracy of B minus accuracy of A. `low` to `high` is the 95 % interval, `standard_error` that of the difference.

    `not_better` is the share of the resamples in which B is not better than A, those with no difference counting half:
    the bootstrap's one-sided p value. `means` are the resamples' differences, (R,).
    """

    value: float
    low: float
    high: float
    standard_error: float
    not_better: float
    means: np.ndarray

    @property
    def verdict(self) -> str:
        """ "B is better", "A is better" or "no difference shown": whether the interval leaves out 0."""
        return "B is better" if self.low > 0 else "A is better" if self.high < 0 else "no difference shown"


def paired_bootstrap(differences: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Difference:
    """Resamples questions with replacement (Efron and Tibshirani, 1993; percentile interval).

    `differences`: (Q,) accuracy of B minus accuracy of A on each question, each the mean over its n responses, so
    that responses to one question stay together. Raises ValueError for no question.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no questions")
    random = np.random.default_rng(seed)
    rows = max(1, _CELLS // values.size)
    means = np.concatenate(
        [
            values[random.integers(0, values.size, (min(rows, resamples - start), values.size))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    return _of(float(values.mean()), means)


def mean_difference(parts: Sequence[Difference]) -> Difference:
    """The mean over benchmarks, each resampled on its own: every benchmark counts the same."""
    return _of(float(np.mean([part.value for part in parts])), np.mean([part.means for part in parts], axis=0))


def _of(value: float, means: np.ndarray) -> Difference:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Sums of the same numbers in another order differ in the last bit: that is no difference.
    ties = np.isclose(means, 0.0, atol=1e-12)
    not_better = float(np.mean((means < 0) & ~ties) + np.mean(ties) / 2)
    return Difference(value, float(low), float(high), float(means.std(ddof=1)), not_better, means)
