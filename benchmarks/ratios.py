"""Format paired ratios."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap


def describe(ratios: Sequence[float]) -> str:
    """Return the median with its 95 % interval (percentile bootstrap, seeded), and the quartiles."""
    found = bootstrap((ratios,), np.median, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0))
    low, high = found.confidence_interval
    first, _, third = statistics.quantiles(ratios, n=4)
    middle = statistics.median(ratios)
    return f"median {middle:.4f} (95 % {low:.4f} to {high:.4f}), quartiles {first:.4f} to {third:.4f}"
