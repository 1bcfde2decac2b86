"""Rows that can't be used: what is said of them, and whether they end the run or are left out (`data.bad_rows`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from echorl_vl.errors import UserError
from echorl_vl.types import Problem

_LISTED = 8
LISTED_AT_START = 50  # of a set, whose bad rows are all found before the list is made
_NAMED = 3  # of the rows that are left out


@dataclass(frozen=True)
class BadRow:
    """Row ``row`` (from 0) of ``source`` can't be used because ``field`` is as ``reason`` says."""

    source: str
    row: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}, row {self.row}{', ' * bool(self.field)}{self.field}: {self.reason}"


class RowError(UserError):
    """One problem can't be used, because its ``field`` is as ``detail`` says."""

    def __init__(self, problem: Problem, field: str, detail: str):
        super().__init__(f"{problem.where}, {field}: {detail}")
        self.problem = problem
        self.field = field
        self.detail = detail

    def bad_row(self, index: int) -> BadRow:
        """The row in its file; ``index`` stands for it where the problem is of no file."""
        source, _, row = self.problem.uid.rpartition(":")
        return BadRow(source, int(row) if row.isdigit() else index, self.field, self.detail)


def raise_bad_rows(bad: Sequence[BadRow], rows: int, listed: int = _LISTED) -> None:
    """Raise one UserError that counts the unusable rows and shows the first few; none: do nothing."""
    if not bad:
        return
    lines = [f"{_count(bad)} of {rows} rows can't be used (rows counted from 0):"]
    lines += [f"  {fault}" for fault in bad[:listed]]
    if len(bad) > listed:
        lines.append(f"  and {len(bad) - listed:,} more")
    raise UserError("\n".join(lines))


def settle_bad_rows(
    bad: Sequence[BadRow], rows: int, bad_rows: str, note: Callable[[str], None], listed: int = _LISTED
) -> None:
    """Do what ``data.bad_rows`` says: "error" raises, "drop" notes how many rows are left out and names the first few.

    Raises UserError also where no row of ``rows`` would be left.
    """
    if not bad:
        return
    if bad_rows == "error" or _count(bad) == rows:
        raise_bad_rows(bad, rows, listed)
    lines = [f"left out {_count(bad):,} of {rows:,} rows that can't be used (data.bad_rows = drop)"]
    lines += [f"  {fault}" for fault in bad[:_NAMED]]
    if len(bad) > _NAMED:
        which = "them all" if len(bad) <= LISTED_AT_START else f"the first {LISTED_AT_START}"
        lines.append(f"  and {len(bad) - _NAMED:,} more (data.bad_rows=error lists {which})")
    note("\n".join(lines))


def _count(bad: Sequence[BadRow]) -> int:
    return len({(fault.source, fault.row) for fault in bad})
