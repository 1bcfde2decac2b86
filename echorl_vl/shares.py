"""Formats shares, such as an accuracy, and estimates their standard errors.

If all values of a sample are equal, its standard error is 0. But with 0 of 6 correct, the true share may well be 10 %:
Wilson's interval (1927) covers that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_EXACT = 1e-9  # rounding error of a mean of ones
_MOST_DECIMALS = 2
_ROUNDING = 1e-12  # rounding error of the standard error of equal values


def percent(share: float, decimals: int = 0, sign: str = " %") -> str:
    """0.5 -> "50 %", 0.996 -> "99.6 %", 0.00001 -> "< 0.01 %"; "?" for NaN and infinity.

    Args:
        share: a share; 1 is 100 %.
        decimals: number of decimals. More are added if the result would round to 0 or 100.
        sign: text after the number.
    """
    if not math.isfinite(share):
        return "?"
    some, not_all = abs(share) > _EXACT, abs(share - 1) > _EXACT
    for places in range(decimals, max(decimals, _MOST_DECIMALS) + 1):
        shown = f"{100 * share:.{places}f}"
        if (float(shown) != 0 or not some) and (float(shown) != 100 or not not_all):
            return shown.removeprefix("-") + sign if not some else shown + sign
    smallest = 10.0**-places
    return f"< {smallest:.{places}f}{sign}" if share < 0.5 else f"> {100 - smallest:.{places}f}{sign}"


def wilson_interval(share: float, trials: float, z: float = 1.0) -> tuple[float, float]:
    """(low, high) of Wilson's score interval: the shares p with |share - p| <= z sqrt(p (1 - p) / trials).

    It is within [0, 1], and its width is never 0: 0 of 6 gives 0 to 0.14 at z = 1, and 0 to 0.39 at z = 1.96.
    """
    shrink = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def wilson_error(share: float, trials: float) -> float:
    """The larger distance of the interval's ends at z = 1 from `share`: 1 / (n + 1) at 0 of n and at n of n."""
    low, high = wilson_interval(share, trials)
    return max(share - low, high - share)


def known_error(sample_error: float, share: float, trials: float) -> float:
    """The sample's standard error, or Wilson's if it is 0 because all trials are equal.

    A NaN error, and that of a mean outside [0, 1], which is not a share, are returned unchanged.
    """
    nothing = sample_error < _ROUNDING and 0 <= share <= 1
    return wilson_error(share, trials) if nothing else sample_error


def clustered_standard_error(accuracies: Sequence[float], n: int) -> float:
    """Standard error of a mean accuracy, clustered by problem: responses to one problem are not independent.

    Args:
        accuracies: (P * n,) in the order of the problems, n responses each.
        n: responses to each problem.

    Returns:
        The standard error of the mean over problems of each problem's mean; Wilson's if all problems have the same
        accuracy; NaN for fewer than two problems.
    """
    problems = [sum(accuracies[first : first + n]) / n for first in range(0, len(accuracies), n)]
    count = len(problems)
    if count < 2:
        return math.nan
    mean = sum(problems) / count
    error = math.sqrt(sum((value - mean) ** 2 for value in problems) / (count - 1) / count)
    return known_error(error, mean, count)
