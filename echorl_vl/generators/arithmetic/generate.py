"""Arithmetic word problems, generated from a seed: the data set `generated/arithmetic`.

A problem has a question, an answer, and a worked solution with one step per line. The splits have the same names as
those of the geometry problems. They do not overlap: a hash of kind and numbers determines the split. Only ood_sizes has
numbers above `SIZE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from echorl_vl.generators.arithmetic.kinds import OOD_KINDS, TRAIN_KINDS, draw_problem
from echorl_vl.generators.arithmetic.problem import ArithmeticProblem
from echorl_vl.generators.splits import Split, draw_problems, draw_rows, standard_splits

if TYPE_CHECKING:
    import datasets

SPLITS = standard_splits(tuple(TRAIN_KINDS), tuple(OOD_KINDS))


def draw_split(split: Split, seed: int | None = None) -> Iterator[ArithmeticProblem]:
    """Yield problems of a split with different numbers until no more are found."""
    return draw_problems(split, draw_problem, seed)


def to_row(problem: ArithmeticProblem, index: int) -> dict:
    """Convert a problem to a row of the data set."""
    return {
        "problem": problem.question,
        "answer": problem.answer,
        "solution": problem.solution(),
        "kind": problem.kind,
        "large": problem.large,
    }


def load_split(name: str, size: int | None = None, seed: int | None = None) -> datasets.Dataset:
    """Generate a split as a data set.

    Args:
        name: a key of `SPLITS`.
        size: number of problems. None: the size of the split.
        seed: seed of the problems. None: the seed of the split.

    Raises:
        ValueError: the split does not exist or has fewer than `size` distinct problems.
    """
    import datasets

    return datasets.Dataset.from_list(draw_rows(SPLITS, name, draw_problem, to_row, size, seed))
