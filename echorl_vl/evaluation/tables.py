"""A table on the terminal, or a block of lines a row where the terminal is too narrow for one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

INDENT = "  "


def show_table(console: Console, heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()) -> None:
    """Prints rows below `heads`, numbers to the right but for the first column and the columns named in `left`.

    A table that has to be squeezed has its numbers cut in pieces: then each row is its first cell, and below it every
    other cell behind its head, none of them broken over two lines.
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
    for name, *cells in rows:
        console.print(name, soft_wrap=True)
        pairs = [f"{head} {cell}".strip() for head, cell in zip(heads[1:], cells, strict=True) if cell]
        for line in _filled(pairs, console.width - len(INDENT)):
            console.print(f"{INDENT}{line}", soft_wrap=True)


def _filled(pieces: Sequence[str], width: int) -> list[str]:
    """The pieces with commas between them, as many in a line as fit."""
    lines: list[str] = []
    for number, piece in enumerate(pieces, 1):
        piece += "," if number < len(pieces) else ""
        if lines and len(lines[-1]) + 1 + len(piece) <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines
