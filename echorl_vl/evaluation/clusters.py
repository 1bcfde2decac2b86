"""Questions that share a problem or a picture are one piece of evidence, not several: clusters."""

from __future__ import annotations

from collections.abc import Sequence


def numbered(clusters: Sequence[str]) -> list[int]:
    """The cluster of each question as a number 0 to C - 1, in order of appearance.

    `clusters`: (Q,) `Question.cluster`; a question with an empty one is a cluster of its own.
    """
    numbers: dict[str | int, int] = {}
    return [numbers.setdefault(cluster or index, len(numbers)) for index, cluster in enumerate(clusters)]
