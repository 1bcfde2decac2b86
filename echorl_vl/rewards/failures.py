"""Describe exceptions of user code, and recognize those that say that resources are exhausted."""

from __future__ import annotations

import errno

_LONGEST = 2000
_EXHAUSTED = ("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc", "can't start new thread")


def describe_error(error: BaseException) -> str:
    """ "Type: message", or the type alone if there is no message."""
    name, message = type(error).__name__, error_message(error)
    return f"{name}: {message}" if message else name


def error_message(error: BaseException) -> str:
    """The message without the type; empty if `str(error)` fails."""
    try:
        return str(error)[:_LONGEST]
    except BaseException:  # SystemExit too
        return ""


def class_name(kind: type) -> str:
    """Full name of a class, the same in every process."""
    return f"{kind.__module__}.{kind.__qualname__}"


def is_exhausted(error: BaseException) -> bool:
    """Whether memory, stack, threads or processes are exhausted, which libraries report in many ways."""
    if isinstance(error, (MemoryError, RecursionError)):
        return True
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):  # fork raises the latter
        return True
    said = describe_error(error).lower() if isinstance(error, (RuntimeError, OSError, ImportError)) else ""
    return any(words in said for words in _EXHAUSTED)
