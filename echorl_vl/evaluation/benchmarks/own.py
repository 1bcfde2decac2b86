"""Metrics of a benchmark's own, which look at several questions together: averaged over the n samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from echorl_vl.evaluation.benchmarks.base import Graded, Question

Verdicts = Sequence[tuple[Question, bool]]


def over_samples(graded: Sequence[Graded], metric: Callable[[Verdicts], dict[str, float]]) -> dict[str, float]:
    """`metric` of sample 0 of every question, of sample 1, ... and the mean of each of its values; a count is an int.

    A metric that asks whether several questions are all right has to see one draw at a time.
    """
    samples = min(len(one.correct) for one in graded)
    values = [metric([(one.question, one.correct[sample]) for one in graded]) for sample in range(samples)]
    return {
        name: first if isinstance(first, int) else sum(value[name] for value in values) / samples
        for name, first in values[0].items()
    }


def all_right_share(verdicts: Verdicts, *keys: str) -> float:
    """Share of the groups, one for each combination of `Question.groups[key]`, whose questions are all right."""
    groups: dict[tuple[str, ...], bool] = {}
    for question, right in verdicts:
        group = tuple(question.groups[key] for key in keys)
        groups[group] = groups.get(group, True) and right
    return sum(groups.values()) / len(groups)
