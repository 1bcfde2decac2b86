"""Arithmetic problems in words, made from a seed: the data set `generated/arithmetic`.

A problem has a question, an answer, and a worked solution of one step a line. The splits are named as those of the
generated geometry problems, and never overlap: a hash of kind and numbers decides. Numbers beyond `SIZE` occur in
ood_sizes alone.
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
    """Problems of a split that differ in their numbers, until it holds no more of them."""
    return draw_problems(split, draw_problem, seed)


def to_row(problem: ArithmeticProblem, index: int) -> dict:
    """The problem with its kind and a worked solution; all problems of a split have the same columns."""
    return {
        "problem": problem.question,
        "answer": problem.answer,
        "solution": problem.solution(),
        "kind": problem.kind,
        "large": problem.large,
    }


def load_split(name: str, size: int | None = None, seed: int | None = None) -> datasets.Dataset:
    """`size` problems of split `name` (one of `SPLITS`), the split's own number by default; `seed`: another draw.

    Raises:
        ValueError: there is no such split, or it does not hold that many distinct problems.
    """
    import datasets

    return datasets.Dataset.from_list(draw_rows(SPLITS, name, draw_problem, to_row, size, seed))
