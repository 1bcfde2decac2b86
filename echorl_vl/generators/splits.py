"""Shared code of the problem generators: correct and incorrect approaches, and splits that do not overlap.

A hash of a problem's signature assigns it to training, validation or test.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar


@dataclass(frozen=True)
class Approach:
    """One way to solve a problem: an idea, the lines of arithmetic, and the answer.

    An incorrect approach has correct arithmetic, but its idea does not apply to the problem.
    """

    idea: str
    steps: tuple[str, ...]
    answer: str


def with_distinct_answers(approaches: Sequence[Approach]) -> tuple[Approach, ...]:
    """Return the first approach, which is correct, and those of the others that have a different answer."""
    correct, *incorrect = approaches
    return correct, *(approach for approach in incorrect if approach.answer != correct.answer)


class GeneratedProblem(Protocol):
    """A problem as the splits use it."""

    @property
    def signature(self) -> str:
        """The question and its numbers; determines the split."""

    @property
    def identity(self) -> Hashable:
        """Unique within a split."""

    @property
    def large(self) -> bool:
        """Whether a number is larger than those of the training split."""


P = TypeVar("P", bound=GeneratedProblem)


@dataclass(frozen=True)
class Split:
    """A set of problems.

    Attributes:
        kinds: the kinds of problems.
        size: default number of problems.
        seed: default seed.
        buckets: the buckets of the hash space, of ten.
        large: True for large problems only, False for others only, None for both.
    """

    kinds: tuple[str, ...]
    size: int
    seed: int
    buckets: range
    large: bool | None


TRAIN, VALIDATION, TEST = range(0, 8), range(8, 9), range(9, 10)


def standard_splits(train_kinds: Sequence[str], ood_kinds: Sequence[str]) -> dict[str, Split]:
    """Return the splits. train, validation and test have the same kinds and sizes; those of ood_* are not in train."""
    train_kinds, ood_kinds = tuple(train_kinds), tuple(ood_kinds)
    return {
        "train": Split(train_kinds, 2000, 1, TRAIN, large=False),
        "validation": Split(train_kinds, 200, 2, VALIDATION, large=False),
        "test": Split(train_kinds, 300, 3, TEST, large=False),
        "ood_kinds": Split(ood_kinds, 200, 4, TEST, large=False),
        "ood_sizes": Split(train_kinds, 200, 5, TEST, large=True),
    }


def belongs_to(problem: GeneratedProblem, buckets: range) -> bool:
    """Whether the hash of the problem's signature is in `buckets` (of ten)."""
    return zlib.crc32(problem.signature.encode()) % 10 in buckets


def draw_problems(split: Split, draw: Callable[[str, random.Random], P], seed: int | None = None) -> Iterator[P]:
    """Yield distinct problems of a split until no more are found; `draw` generates a problem of a kind."""
    rng = random.Random(split.seed if seed is None else seed)
    identities: set[Hashable] = set()
    misses = 0
    while misses < 2000:
        problem = draw(rng.choice(split.kinds), rng)
        has_size = split.large is None or problem.large == split.large
        if not has_size or problem.identity in identities or not belongs_to(problem, split.buckets):
            misses += 1
            continue
        misses = 0
        identities.add(problem.identity)
        yield problem


def draw_rows(
    splits: Mapping[str, Split],
    name: str,
    draw: Callable[[str, random.Random], P],
    to_row: Callable[[P, int], dict[str, Any]],
    size: int | None = None,
    seed: int | None = None,
) -> list[dict[str, Any]]:
    """Generate the rows of a split.

    Args:
        splits: the splits by name.
        name: name of the split.
        draw: generates a problem of a kind.
        to_row: converts a problem and its row number to a row.
        size: number of rows. None: the size of the split.
        seed: seed of the problems. None: the seed of the split.

    Raises:
        ValueError: the split does not exist or has fewer than `size` distinct problems.
    """
    if name not in splits:
        raise ValueError(f"split: expected one of {', '.join(splits)}, got {name!r}")
    split = splits[name]
    size = split.size if size is None else size
    rows = []
    for problem in draw_problems(split, draw, seed):
        if len(rows) == size:
            break
        rows.append(to_row(problem, len(rows)))
    if len(rows) < size:
        raise ValueError(f"size: expected at most {len(rows)}, the distinct problems of split {name!r}, got {size}")
    return rows
