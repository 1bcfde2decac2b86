"""Statistics over seeds: means with Student's intervals, and verdicts on claims.

A claim says on which side of zero a quantity is. It is *supported* if the whole interval is on that side, *not
supported* if the whole interval is on the other side, and *undecided* if the interval includes zero.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from echorl_vl.evaluation.paired import LEVEL, sign_flip_p, t_interval
from echorl_vl.outputs.plot_data import ends

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
VERDICTS = (SUPPORTED, NOT_SUPPORTED, UNDECIDED)


def tenths(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the means over the first and the last tenth of a run's known values, each over one to ten steps."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return ends(known, edge=min(max(1, round(len(known) / 10)), 10))[:2]


@dataclass(frozen=True)
class Interval:
    """A mean and its interval, with nan as ends for fewer than two values."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Format with three decimals, or more if all numbers are below 0.01: then the largest has three digits."""
        values = [self.mean, self.low, self.high] if math.isfinite(self.low) else [self.mean]
        largest = max(map(abs, values))
        small = 0 < largest < 0.01
        mean, *ends = (number(value, 2 - math.floor(math.log10(largest)) if small else 3) for value in values)
        return f"{mean} ({' to '.join(ends)})" if ends else mean


def interval(values: Sequence[float], comparisons: int = 1) -> Interval:
    """Return the mean and Student's interval at the level 1 - 0.05 / comparisons (Bonferroni).

    Values that are not finite are ignored: the quantity may not exist for a seed.
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Interval(math.nan, math.nan, math.nan)
    mean = statistics.fmean(known)
    if len(known) < 2:
        return Interval(mean, math.nan, math.nan)
    return Interval(mean, *t_interval(known, 1 - (1 - LEVEL) / comparisons))


@dataclass(frozen=True)
class Contrast:
    """A quantity that is compared with zero.

    Attributes:
        name: name of the quantity.
        values: one value per seed.
        claimed: "above" or "below" zero; None for no claim.
        comparisons: number of contrasts in the same family, which share an error of 5 %.
    """

    name: str
    values: tuple[float, ...]
    claimed: str | None = None
    comparisons: int = 1

    @property
    def interval(self) -> Interval:
        return interval(self.values, self.comparisons)

    @property
    def known(self) -> int:
        """Number of seeds with a value."""
        return sum(map(math.isfinite, self.values))

    @property
    def verdict(self) -> str:
        """supported, not supported or undecided; undecided also without a claim or with a single seed."""
        bounds = self.interval
        above, below = bounds.low > 0, bounds.high < 0  # both false for nan
        if self.claimed is None or not (above or below):
            return UNDECIDED
        return SUPPORTED if above == (self.claimed == "above") else NOT_SUPPORTED

    def to_json(self) -> dict[str, Any]:
        bounds = self.interval
        return {
            "name": self.name,
            "claimed": self.claimed,
            "values": list(self.values),
            "mean": bounds.mean,
            "low": bounds.low,
            "high": bounds.high,
            "comparisons": self.comparisons,
            "sign_flip_p": sign_flip_p(self.values),
            "verdict": self.verdict,
        }


def verdict_of(contrasts: Sequence[Contrast]) -> str:
    """Return the verdict on a claim of several parts: supported if all are, not supported if one is not."""
    verdicts = {contrast.verdict for contrast in contrasts}
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if verdicts == {SUPPORTED} else UNDECIDED


def number(value: float, decimals: int = 3) -> str:
    """Format a number; "0.000" for "-0.000", "?" for nan."""
    if not math.isfinite(value):
        return "?"
    return f"{value:.{decimals}f}" if round(value, decimals) else f"{0:.{decimals}f}"


def p_value(p: float) -> str:
    """Format a p value with four decimals: the smallest one of five seeds is 0.0625."""
    return number(p, 4)
