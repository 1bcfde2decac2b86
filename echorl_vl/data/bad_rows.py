"""Rows that can't be used: messages about them, and whether they stop the run or are left out (`data.bad_rows`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from echorl_vl.errors import UserError
from echorl_vl.types import Problem

_LISTED = 8
LISTED_AT_START = 50  # when a set is loaded, as all of its bad rows are known then
_NAMED = 3  # of rows that are left out


@dataclass(frozen=True)
class BadRow:
    """A row (counted from 0) of a source that can't be used: ``reason`` says what is invalid about ``field``."""

    source: str
    row: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}, row {self.row}{', ' * bool(self.field)}{self.field}: {self.reason}"


class RowError(UserError):
    """A problem can't be used: ``detail`` says what is invalid about ``field``."""

    def __init__(self, problem: Problem, field: str, detail: str):
        super().__init__(f"{problem.where}, {field}: {detail}")
        self.problem = problem
        self.field = field
        self.detail = detail

    def bad_row(self, index: int) -> BadRow:
        """The row in its file. ``index`` is used as its number if the problem is not from a file."""
        source, _, row = self.problem.uid.rpartition(":")
        return BadRow(source, int(row) if row.isdigit() else index, self.field, self.detail)


def raise_bad_rows(bad: Sequence[BadRow], rows: int, listed: int = _LISTED) -> None:
    """Raise one UserError that counts the bad rows and lists the first ones. Does nothing if there are none."""
    if not bad:
        return
    lines = [f"{_count(bad)} of {rows} rows can't be used (rows counted from 0):"]
    lines += [f"  {fault}" for fault in bad[:listed]]
    if len(bad) > listed:
        lines.append(f"  and {len(bad) - listed:,} more")
    raise UserError("\n".join(lines))


def handle_bad_rows(
    bad: Sequence[BadRow], rows: int, bad_rows: str, note: Callable[[str], None], listed: int = _LISTED
) -> None:
    """Raise an error for bad rows, or report that they are left out.

    Args:
        bad: the bad rows, none or more.
        rows: number of all rows.
        bad_rows: the setting ``data.bad_rows``: "error" raises, "drop" reports to ``note``.
        note: takes the message that rows are left out.
        listed: number of rows in the message of an error.

    Raises:
        UserError: ``bad_rows`` is "error", or no row is left.
    """
    if not bad:
        return
    if bad_rows == "error" or _count(bad) == rows:
        raise_bad_rows(bad, rows, listed)
    lines = [f"skipped {_count(bad):,} of {rows:,} rows that can't be used (data.bad_rows = drop)"]
    lines += [f"  {fault}" for fault in bad[:_NAMED]]
    if len(bad) > _NAMED:
        which = "them all" if len(bad) <= LISTED_AT_START else f"the first {LISTED_AT_START}"
        lines.append(f"  and {len(bad) - _NAMED:,} more (data.bad_rows=error lists {which})")
    note("\n".join(lines))


def _count(bad: Sequence[BadRow]) -> int:
    return len({(fault.source, fault.row) for fault in bad})
