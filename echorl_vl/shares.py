"""Shares, such as an accuracy: as people read them, and their standard error where they are all or nothing.

The sample's own error is 0 there: with 0 of 6 correct the truth may well be 10 %, and the spread of six equal values
knows nothing of that. Wilson's interval (1927) does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_EXACT = 1e-9  # a mean of ones may miss 1 by this much
_MOST_DECIMALS = 2
_ROUNDING = 1e-12  # equal values summed in floating point


def percent(share: float, decimals: int = 0, sign: str = " %") -> str:
    """0.5 -> "50 %", 0.996 -> "99.6 %", 0.00001 -> "< 0.01 %"; "?" for NaN and infinity.

    Args:
        share: 1 is all.
        decimals: how many where they don't round to 0 or 100; else there are as many more as that takes.
        sign: what follows the number.
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

    Within [0, 1], and never of no width: 0 of 6 gives 0 to 0.14 at z = 1, and 0 to 0.39 at z = 1.96.
    """
    shrink = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def wilson_error(share: float, trials: float) -> float:
    """How far the interval at z = 1 reaches from `share`: 1 / (n + 1) at 0 of n and at n of n."""
    low, high = wilson_interval(share, trials)
    return max(share - low, high - share)


def known_error(sample_error: float, share: float, trials: float) -> float:
    """The sample's standard error, but where it is 0 (all trials came out the same) Wilson's; nan stays nan.

    A mean of scores that are no shares, outside [0, 1], keeps what it has.
    """
    nothing = sample_error < _ROUNDING and 0 <= share <= 1
    return wilson_error(share, trials) if nothing else sample_error


def clustered_standard_error(accuracies: Sequence[float], n: int) -> float:
    """Standard error of a mean accuracy, clustered by problem; Wilson's where all problems have the same accuracy,
    which is no certainty; nan for fewer than two problems.

    Args:
        accuracies: (P * n,) in problem order, n responses each. The error is that of the mean over problems of each
            problem's own mean: responses to one problem are no independent evidence.
    """
    problems = [sum(accuracies[first : first + n]) / n for first in range(0, len(accuracies), n)]
    count = len(problems)
    if count < 2:
        return math.nan
    mean = sum(problems) / count
    error = math.sqrt(sum((value - mean) ** 2 for value in problems) / (count - 1) / count)
    return known_error(error, mean, count)
