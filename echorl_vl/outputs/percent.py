"""Shares as people read them: only nothing is called 0 %, and only all is called 100 %."""

from __future__ import annotations

import math

_EXACT = 1e-9  # a mean of ones may miss 1 by this much
_MOST_DECIMALS = 2


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
