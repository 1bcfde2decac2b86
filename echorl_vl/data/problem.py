"""A set of problems, whose rows are read from disk when they are accessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.utils.data import ConcatDataset, Dataset

from echorl_vl.types import Problem

if TYPE_CHECKING:
    from echorl_vl.data.bad_rows import BadRow


@dataclass(frozen=True)
class SourceRows(Dataset[Problem]):
    """The rows of one file or split.

    Attributes:
        size: number of rows.
        read: gives a row as a Problem.
        matches_file: question and answer are columns of the file, and EasyR1 reads the same values.
        name: of the file or split, for messages.
    """

    size: int
    read: Callable[[int], Problem]
    matches_file: bool = True
    name: str = ""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: int) -> Problem:
        return self.read(row)


class Problems(Sequence[Problem]):
    """Problems of one or more files as one sequence. Each access reads the row from disk.

    Args:
        source: the places of the set, for messages.
        parts: the rows of each file.
        rows: indices of the problems among all rows, None for all.
        bad_rows: rows that are left out and not reported yet (`screening.screen` does).
    """

    def __init__(
        self,
        source: str,
        parts: Sequence[SourceRows],
        rows: Sequence[int] | None = None,
        bad_rows: Sequence[BadRow] = (),
    ):
        self.source = source
        self.bad_rows = tuple(bad_rows)
        self._parts = tuple(parts)
        self._all_rows = ConcatDataset(self._parts)
        self._rows = range(len(self._all_rows)) if rows is None else list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):
        """Problem ``index``; a slice gives Problems."""
        if isinstance(index, slice):
            return Problems(self.source, self._parts, self._rows[index])
        return self._all_rows[self._rows[index]]

    def __iter__(self) -> Iterator[Problem]:
        return (self[index] for index in range(len(self)))

    @property
    def matches_file(self) -> bool:
        """Whether the set has all rows of its files, and EasyR1 reads the same values (`SourceRows.matches_file`)."""
        return all(part.matches_file for part in self._parts) and self.is_whole

    @property
    def is_whole(self) -> bool:
        """Whether the set has all rows of its files."""
        return len(self._rows) == len(self._all_rows)

    @property
    def sources(self) -> list[str]:
        """Names of the files, in order."""
        return [part.name for part in self._parts]

    @property
    def total(self) -> int:
        """Number of rows of the files, including those left out."""
        return len(self._all_rows)

    def select(self, indices: Sequence[int]) -> Problems:
        """The problems at ``indices``, in that order, without `bad_rows`."""
        return Problems(self.source, self._parts, [self._rows[index] for index in indices])

    def __repr__(self) -> str:
        return f"Problems({self.source!r}, {len(self)} problems)"
