"""The log of this package on the terminal: notes and warnings on stderr, as many as `--quiet` and `--verbose` ask for.

Modules log to a child of the logger `echorl_vl`. Programs call `set_up_logging` once; without it, as in a library,
Python's own defaults apply: warnings alone.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.terminal import visible

LOGGER = logging.getLogger("echorl_vl")

_STYLES = {"debug": "dim", "warning": "yellow", "error": "bold red", "critical": "bold red"}


def set_up_logging(level: int = logging.INFO) -> None:
    """Shows the records of `echorl_vl` from `level` on. A second call sets another level."""
    if not any(isinstance(handler, TerminalHandler) for handler in LOGGER.handlers):
        LOGGER.addHandler(TerminalHandler())
    LOGGER.setLevel(level)


def is_quiet() -> bool:
    """Whether a program runs with `--quiet`: it shows no progress."""
    return LOGGER.level > logging.INFO


@contextlib.contextmanager
def log_above(console: Console) -> Iterator[None]:
    """Writes the log to `console`, above the live display that it shows."""
    handlers = [handler for handler in LOGGER.handlers if isinstance(handler, TerminalHandler)]
    before = [handler.console for handler in handlers]
    for handler in handlers:
        handler.console = console
    try:
        yield
    finally:
        for handler, previous in zip(handlers, before, strict=True):
            handler.console = previous


class TerminalHandler(RichHandler):
    """Writes one line for each record: the text of a note as it is, anything else after its level.

    Control characters are escaped: a record may quote model output.
    """

    def __init__(self) -> None:
        super().__init__(console=make_console(stderr=True, soft_wrap=True))

    def render_message(self, record: logging.LogRecord, message: str) -> Text:
        return Text(visible(message))

    def render(self, *, record: logging.LogRecord, message_renderable: Text, **_: Any) -> Text:
        if record.levelno == logging.INFO:
            return Text("• " if self.console.is_terminal else "", style="dim") + message_renderable
        level = record.levelname.lower()
        line = Text(f"{level}: ", style=_STYLES.get(level, ""))
        if record.levelno < logging.INFO:
            line.append(f"{record.name.removeprefix('echorl_vl.')}: ", style="dim")
        return line + message_renderable
