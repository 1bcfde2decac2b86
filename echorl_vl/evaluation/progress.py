"""Progress on the terminal: a bar, or a plain line now and then where there is no terminal."""

from __future__ import annotations

import time
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from echorl_vl.outputs.console import make_console

PLAIN_SECONDS = 30.0
PLAIN_WIDTH = 160


def wide_console() -> Console:
    """A console that squeezes no table into 80 columns where it writes to a file."""
    console = make_console()
    return console if console.is_terminal else make_console(width=PLAIN_WIDTH)


@contextmanager
def bar(console: Console, title: str, total: int):
    """Gives `update(done)`, and `update(done, total)` where the total changes."""
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
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)

        def update(done: int, total: int | None = None) -> None:
            progress.update(task, completed=done, **({} if total is None else {"total": total}))

        yield update


class _PlainProgress:
    """One line every 30 seconds, and one at the end."""

    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total = console, title, total
        self._began = self._printed = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int | None = None) -> None:
        self._total = self._total if total is None else total
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._printed < PLAIN_SECONDS and done < self._total:
            return
        self._printed = now
        pace = (done - self._first) / (now - self._began) if done > self._first else 0.0
        left = f", {(self._total - done) / pace:.0f} s left" if pace and done < self._total else ""
        self._console.print(
            f"{self._title}: {done} of {self._total} in {now - self._began:.0f} s{left}", soft_wrap=True
        )
