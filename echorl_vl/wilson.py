"""The standard error of a share that is all or nothing: Wilson's (1927), since the sample's own says 0 there.

With 0 of 6 right the truth may well be 10 %; the spread of six equal values knows nothing of that.
"""

from __future__ import annotations

import math

_ROUNDING = 1e-12  # equal values summed in floating point


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
