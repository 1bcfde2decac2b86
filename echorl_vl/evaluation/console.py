"""Terminal output of an evaluation: a progress bar, or lines of progress in a file, and tables of any width."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.log import is_quiet, log_above

PLAIN_SECONDS = 30.0
PLAIN_WIDTH = 160
INDENT = "  "


def wide_console() -> Console:
    """Return a console that is wider than 80 columns if it writes to a file."""
    console = make_console()
    return console if console.is_terminal else make_console(width=PLAIN_WIDTH)


@contextmanager
def bar(console: Console, title: str, total: int):
    """Show progress, unless the program runs with `--quiet`.

    Yields:
        A function `update(done, total=None)`, which can also change the total.
    """
    if is_quiet():
        yield lambda done, total=None: None
        return
    if not console.is_terminal:
        yield _PlainProgress(console, title, total)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress, log_above(console):
        task = progress.add_task(title, total=total)

        def update(done: int, total: int | None = None) -> None:
            progress.update(task, completed=done, **({} if total is None else {"total": total}))

        yield update


class _PlainProgress:
    """Prints a line every 30 seconds and one at the end."""

    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total = console, title, total
        self._started = self._printed = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int | None = None) -> None:
        self._total = self._total if total is None else total
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._printed < PLAIN_SECONDS and done < self._total:
            return
        self._printed = now
        pace = (done - self._first) / (now - self._started) if done > self._first else 0.0
        left = f", {(self._total - done) / pace:.0f} s left" if pace and done < self._total else ""
        self._console.print(
            f"{self._title}: {done} of {self._total} in {now - self._started:.0f} s{left}", soft_wrap=True
        )


def show_table(console: Console, heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()) -> None:
    """Print a table, right-aligned except for the first column and the columns in `left`.

    If the console is too narrow, each row becomes its first value and, below it, the others as `head = value`.
    """
    rows = [tuple(row) for row in rows]
    table = Table(box=box.SIMPLE_HEAD)
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index == 0 or head in left else "right")
    for row in rows:
        table.add_row(*row)
    unlimited = console.options.update(width=10_000)
    if console.measure(table, options=unlimited).maximum <= console.width:
        console.print(table)
        return
    for name, *values in rows:
        console.print(name, soft_wrap=True)
        pairs = [f"{head} = {value}" for head, value in zip(heads[1:], values, strict=True) if value]
        for line in _filled(pairs, console.width - len(INDENT)):
            console.print(f"{INDENT}{line}", soft_wrap=True)


def _filled(pieces: Sequence[str], width: int) -> list[str]:
    """Join the pieces by commas and break the lines between pieces."""
    lines: list[str] = []
    for number, piece in enumerate(pieces, 1):
        piece += "," if number < len(pieces) else ""
        if lines and len(lines[-1]) + 1 + len(piece) <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines
