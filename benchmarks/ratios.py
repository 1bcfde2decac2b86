"""How paired ratios are reported."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence


def describe(ratios: Sequence[float]) -> str:
    """Median with its 95 % interval (bootstrap of 2,000, seeded), and the quartiles."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    low, _, high = statistics.quantiles(ratios, n=4)
    middle = statistics.median(ratios)
    return f"median {middle:.4f} (95 % {medians[50]:.4f} to {medians[1949]:.4f}), quartiles {low:.4f} to {high:.4f}"
