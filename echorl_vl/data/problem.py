"""One problem of a data set, and a set of problems whose images are read when asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echorl_vl.types import Problem

if TYPE_CHECKING:
    from echorl_vl.data.bad_rows import BadRow


@dataclass(frozen=True)
class Part:
    """The rows of one file (or hub split): ``read(row)`` gives row ``row`` of ``size`` as a Problem.

    ``plain``: question and answer are columns of the file as they are, so that EasyR1 reads them too. ``name`` is the
    file's in messages.
    """

    size: int
    read: Callable[[int], Problem]
    plain: bool = True
    name: str = ""


class Problems(Sequence[Problem]):
    """Problems of one or more files as one sequence; a row is read from disk each time it is asked for.

    ``faults`` are of rows that are not among the problems and that nothing was said of yet (`screening.screen`).
    """

    def __init__(
        self, source: str, parts: Sequence[Part], rows: Sequence[int] | None = None, faults: Sequence[BadRow] = ()
    ):
        self.source = source
        self.faults = tuple(faults)
        self._parts = tuple(parts)
        self._starts = [0]
        for part in self._parts:
            self._starts.append(self._starts[-1] + part.size)
        self._rows = range(self._starts[-1]) if rows is None else list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):
        """Problem ``index``; a slice gives Problems."""
        if isinstance(index, slice):
            return Problems(self.source, self._parts, self._rows[index])
        row = self._rows[index]
        part = bisect_right(self._starts, row) - 1
        return self._parts[part].read(row - self._starts[part])

    def __iter__(self) -> Iterator[Problem]:
        return (self[index] for index in range(len(self)))

    @property
    def plain(self) -> bool:
        """Whether the set is all rows of one source, and that is `Part.plain`."""
        return all(part.plain for part in self._parts) and self.is_whole

    @property
    def is_whole(self) -> bool:
        """Whether no row of the files was left out."""
        return len(self._rows) == self._starts[-1]

    @property
    def sources(self) -> list[str]:
        """Names of the files, in order."""
        return [part.name for part in self._parts]

    @property
    def total(self) -> int:
        """Number of rows of the files, those that were left out among them."""
        return self._starts[-1]

    def select(self, indices: Sequence[int]) -> Problems:
        """The problems at ``indices``, in that order, without `faults`."""
        return Problems(self.source, self._parts, [self._rows[index] for index in indices])

    def __repr__(self) -> str:
        return f"Problems({self.source!r}, {len(self)} problems)"
