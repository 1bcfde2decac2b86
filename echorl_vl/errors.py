"""The one exception that stands for a mistake the user can mend, and the exit statuses of our commands."""

from __future__ import annotations

import copyreg
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

USAGE_ERROR = 2
"""Exit status of a command that was given something it can't use, as `argparse` has it."""

INTERRUPTED = 130
"""Exit status of a run that the user stopped, as of any program that SIGINT ends."""


class UserError(Exception):
    """Bad input. The message names the file, row or key, what was found and what is wanted.

    The command line prints it without a traceback and exits with status 2.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Subclasses make their message of other arguments, so what comes out of a pickle is not made by __init__."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__


_NAMES: dict[str, str] = {}


def setting(key: str) -> str:
    """A configuration key for a message, as the running program calls it (`settings_called`)."""
    return _NAMES.get(key, key)


@contextmanager
def settings_called(names: Mapping[str, str]) -> Iterator[None]:
    """For a program that has options in the place of configuration keys: `names` gives the option of a key."""
    _NAMES.update(names)
    try:
        yield
    finally:
        _NAMES.clear()


def counted(number: int, noun: str) -> str:
    """As in "1 problem" and "1,234 problems"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def shorten(text: str, limit: int = 200) -> str:
    """``text`` on one line, cut in the middle if it is longer than ``limit`` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
