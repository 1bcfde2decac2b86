"""What an exception of user code says: in words, and whether it says that the machine's resources are exhausted."""

from __future__ import annotations

import errno

_LONGEST = 2000
_EXHAUSTED = ("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc", "can't start new thread")


def described(error: BaseException) -> str:
    """ "Type: message", or the type alone where there is no message."""
    name, message = type(error).__name__, message_of(error)
    return f"{name}: {message}" if message else name


def message_of(error: BaseException) -> str:
    """The message alone, empty where none can be made."""
    try:
        return str(error)[:_LONGEST]
    except BaseException:  # SystemExit too
        return ""


def name_of(kind: type) -> str:
    """What tells a class of exceptions from others, also those of another process."""
    return f"{kind.__module__}.{kind.__qualname__}"


def is_exhausted(error: BaseException) -> bool:
    """Whether memory, stack, threads or processes were used up; libraries have many ways to say it."""
    if isinstance(error, (MemoryError, RecursionError)):
        return True
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):  # the latter of fork
        return True
    said = described(error).lower() if isinstance(error, (RuntimeError, OSError, ImportError)) else ""
    return any(words in said for words in _EXHAUSTED)
