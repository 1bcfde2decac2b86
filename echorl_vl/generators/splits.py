"""What the generators of problems share: approaches to a problem, correct and incorrect, and splits without overlap.

A hash of a problem's signature decides whether it belongs to training, validation or test.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar


@dataclass(frozen=True)
class Approach:
    """One way to solve a problem: the idea it relies on, the lines of arithmetic, and the answer they end in.

    An incorrect approach is a sound calculation from an idea that does not apply.
    """

    idea: str
    steps: tuple[str, ...]
    answer: str


def tell_apart(approaches: Sequence[Approach]) -> tuple[Approach, ...]:
    """The first approach, which is correct, and the incorrect ones whose answer differs from its."""
    correct, *incorrect = approaches
    return correct, *(approach for approach in incorrect if approach.answer != correct.answer)


class GeneratedProblem(Protocol):
    """What a split needs to know of a problem."""

    @property
    def signature(self) -> str:
        """What is asked with which numbers; decides the split."""

    @property
    def identity(self) -> Hashable:
        """Differs between any two problems of a split."""

    @property
    def large(self) -> bool:
        """Some number is beyond the sizes of the training split."""


P = TypeVar("P", bound=GeneratedProblem)


@dataclass(frozen=True)
class Split:
    """A named set of problems: the kinds and sizes it draws from, how many, and its part of the hash space."""

    kinds: tuple[str, ...]
    size: int
    seed: int
    buckets: range
    large: bool | None


TRAIN, VALIDATION, TEST = range(0, 8), range(8, 9), range(9, 10)


def standard_splits(train_kinds: Sequence[str], ood_kinds: Sequence[str]) -> dict[str, Split]:
    """train, validation and test share kinds and sizes; ood_kinds and ood_sizes hold what training never sees."""
    train_kinds, ood_kinds = tuple(train_kinds), tuple(ood_kinds)
    return {
        "train": Split(train_kinds, 2000, 1, TRAIN, large=False),
        "validation": Split(train_kinds, 200, 2, VALIDATION, large=False),
        "test": Split(train_kinds, 300, 3, TEST, large=False),
        "ood_kinds": Split(ood_kinds, 200, 4, TEST, large=False),
        "ood_sizes": Split(train_kinds, 200, 5, TEST, large=True),
    }


def belongs_to(problem: GeneratedProblem, buckets: range) -> bool:
    """Whether the problem's signature hashes into `buckets` (of ten)."""
    return zlib.crc32(problem.signature.encode()) % 10 in buckets


def draw_problems(split: Split, draw: Callable[[str, random.Random], P], seed: int | None = None) -> Iterator[P]:
    """Distinct problems of a split, until it holds no more of them; `draw` makes one of a kind."""
    rng = random.Random(split.seed if seed is None else seed)
    seen: set[Hashable] = set()
    misses = 0
    while misses < 2000:
        problem = draw(rng.choice(split.kinds), rng)
        fits = split.large is None or problem.large == split.large
        if not fits or problem.identity in seen or not belongs_to(problem, split.buckets):
            misses += 1
            continue
        misses = 0
        seen.add(problem.identity)
        yield problem


def draw_rows(
    splits: Mapping[str, Split],
    name: str,
    draw: Callable[[str, random.Random], P],
    to_row: Callable[[P, int], dict[str, Any]],
    size: int | None = None,
    seed: int | None = None,
) -> list[dict[str, Any]]:
    """`size` rows (the split's own number by default) of split `name`; `to_row` takes a problem and its row number.

    Raises:
        ValueError: there is no such split, or it does not hold that many distinct problems.
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
        raise ValueError(f"split {name!r} holds {len(rows)} distinct problems, {size} were asked for")
    return rows
