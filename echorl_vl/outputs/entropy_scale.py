"""The one colour scale of entropies, for every figure and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

COLOURS = ("#f4f1ea", "#fbe9c8", "#fbd99a", "#f6b65f", "#ec9150", "#d9653c", "#b93a32")
"""From 0 nats to the top of the scale. Lightness falls all the way, so the order survives colour blindness."""

TOPS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""The tops a scale can have, in nats. Few and fixed, so that figures of different steps and runs share one."""

PERCENTILE = 99


@dataclass(frozen=True)
class EntropyScale:
    """Colours for entropies from 0 to `top` nats.

    top: the smallest of `TOPS` that is not below the 99th percentile of the entropies.
    above: how many of the `count` entropies exceed the top and get its colour. highest: the largest entropy, in nats.
    """

    top: float
    above: int
    count: int
    highest: float

    @classmethod
    def from_values(cls, values: Iterable[float | None]) -> EntropyScale:
        """The scale for these entropies; None and NaN are ignored."""
        known = np.array([value for value in values if value is not None and math.isfinite(value)])
        if not len(known):
            return cls(TOPS[0], 0, 0, 0.0)
        percentile = float(np.percentile(known, PERCENTILE, method="lower"))
        top = next((top for top in TOPS if top >= percentile), TOPS[-1])
        return cls(top, int((known > top).sum()), len(known), float(known.max()))

    @classmethod
    def from_rollouts(cls, rows: Sequence[Mapping[str, Any]]) -> EntropyScale:
        """The scale for the reasoning steps of all rollouts of a file."""
        return cls.from_values(value for row in rows for value in row["step_entropies"] or ())

    def position(self, entropy: float | None) -> float | None:
        """Where an entropy lies on the scale: 0 for 0 nats, 1 for the top and above; None without an entropy."""
        if entropy is None or not math.isfinite(entropy):
            return None
        return min(max(entropy / self.top, 0.0), 1.0)

    def note(self) -> str:
        """How many steps are above the top, for the figure; "" if none is."""
        if not self.above:
            return ""
        verb = "is" if self.above == 1 else "are"
        return f"{self.above} of {self.count} steps {verb} above {self.top:g} nats, up to {self.highest:.3g}"
