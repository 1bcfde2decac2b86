"""How sure a held-out accuracy is."""

from __future__ import annotations

import math
from collections.abc import Sequence


def clustered_standard_error(accuracies: Sequence[float], n: int) -> float:
    """Standard error of a mean accuracy, clustered by problem; nan for fewer than two problems.

    Args:
        accuracies: (P * n,) in problem order, n responses each. The error is that of the mean over problems of each
            problem's own mean: responses to one problem are no independent evidence.
    """
    problems = [sum(accuracies[first : first + n]) / n for first in range(0, len(accuracies), n)]
    count = len(problems)
    if count < 2:
        return math.nan
    mean = sum(problems) / count
    return math.sqrt(sum((value - mean) ** 2 for value in problems) / (count - 1) / count)
