"""What a validation says beside the means of the reward, first of all how sure its accuracy is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from echorl_vl.shares import known_error
from echorl_vl.types import RolloutBatch


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


def of_all_responses(rollouts: RolloutBatch, scores: Sequence[dict[str, float]], n: int) -> dict[str, float]:
    """What `val/*` has beside the means of the reward's parts: B responses, n for each problem."""
    return {
        "val/accuracy_se": clustered_standard_error([score["accuracy"] for score in scores], n),
        "val/problems": len(scores) / n,
        "val/response_length": rollouts.response_mask.sum(-1).float().mean().item(),
        "val/clip_ratio": rollouts.truncated.float().mean().item(),
    }
