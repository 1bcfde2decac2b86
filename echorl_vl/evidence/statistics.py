"""Numbers over seeds: a mean with Student's interval, and what they say of a claim.

A claim is about the side of zero that a quantity lies on. It is *supported* if the whole interval lies on that
side, *not supported* if the whole interval lies on the other one, and *undecided* while the interval includes zero.
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
    """Means over the first and the last tenth of the known values along a run: at least one step, at most ten."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return ends(known, edge=min(max(1, round(len(known) / 10)), 10))[:2]


@dataclass(frozen=True)
class Interval:
    """Mean of some values and the ends of its interval; nan ends for fewer than two values."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """All three with as many decimals: three, or what shows three digits of the largest if that is below 0.01."""
        values = [self.mean, self.low, self.high] if math.isfinite(self.low) else [self.mean]
        largest = max(map(abs, values))
        small = 0 < largest < 0.01
        mean, *ends = (number(value, 2 - math.floor(math.log10(largest)) if small else 3) for value in values)
        return f"{mean} ({' to '.join(ends)})" if ends else mean


def interval(values: Sequence[float], comparisons: int = 1) -> Interval:
    """Student's interval of a mean at 95 %, or at 1 - 0.05 / comparisons (Bonferroni) where it is one of several.

    Values that are not finite are passed over: a seed for which the quantity does not exist.
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
    """A quantity that a claim puts on one side of zero, one value a seed.

    claimed: "above" or "below" zero; None where nothing is claimed. comparisons: contrasts of the same family, which
    share its error of 5 %.
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
        """Seeds that have a value."""
        return sum(map(math.isfinite, self.values))

    @property
    def verdict(self) -> str:
        """supported, not supported or undecided; undecided too where nothing is claimed or one seed alone is there."""
        found = self.interval
        above, below = found.low > 0, found.high < 0  # nan ends are neither
        if self.claimed is None or not (above or below):
            return UNDECIDED
        return SUPPORTED if above == (self.claimed == "above") else NOT_SUPPORTED

    def to_json(self) -> dict[str, Any]:
        found = self.interval
        return {
            "name": self.name,
            "claimed": self.claimed,
            "values": list(self.values),
            "mean": found.mean,
            "low": found.low,
            "high": found.high,
            "comparisons": self.comparisons,
            "sign_flip_p": sign_flip_p(self.values),
            "verdict": self.verdict,
        }


def verdict_of(contrasts: Sequence[Contrast]) -> str:
    """Of a claim with several parts: supported if all are, not supported if one is not, else undecided."""
    verdicts = {contrast.verdict for contrast in contrasts}
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if verdicts == {SUPPORTED} else UNDECIDED


def number(value: float, decimals: int = 3) -> str:
    """A rounded number, "-0.000" without its sign; "?" for nan."""
    if not math.isfinite(value):
        return "?"
    return f"{value:.{decimals}f}" if round(value, decimals) else f"{0:.{decimals}f}"


def p_value(p: float) -> str:
    """With four decimals, since the least that five seeds can give is 0.0625."""
    return number(p, 4)
