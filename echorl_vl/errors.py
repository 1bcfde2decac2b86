"""The exception for mistakes that the user can fix, the exit statuses of the commands, and how messages show values."""

from __future__ import annotations

import copyreg
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

USAGE_ERROR = 2
"""Exit status after a `UserError`; the same as that of `argparse`."""

INTERRUPTED = 130
"""Exit status of a run that the user stopped; the same as that of a program that SIGINT ends."""


class UserError(Exception):
    """Invalid input. The message names the file, row or key, and says what was expected and what was given.

    The command line prints it without a traceback and exits with status 2.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickles without `__init__`, whose arguments are not the message in subclasses."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__


_NAMES: dict[str, str] = {}


def setting(key: str) -> str:
    """The name of a configuration key in messages of the running program (see `settings_called`)."""
    return _NAMES.get(key, key)


@contextmanager
def settings_called(names: Mapping[str, str]) -> Iterator[None]:
    """Names configuration keys as the options of a program in its messages.

    Args:
        names: configuration key -> option.
    """
    _NAMES.update(names)
    try:
        yield
    finally:
        _NAMES.clear()


def counted(number: int, noun: str) -> str:
    """A number with a noun: "1 problem", "1,234 problems"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def show(value: Any) -> str:
    """A value as YAML would have it, at most 80 characters of it."""
    return cut(json.dumps(value, default=str, ensure_ascii=False))


def cut(text: str) -> str:
    """The text; longer than 80 characters, its end is cut off."""
    return text if len(text) <= 80 else text[:77] + "..."


def shorten(text: str, limit: int = 200) -> str:
    """The text on one line; longer than `limit` characters, its middle is cut out."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
