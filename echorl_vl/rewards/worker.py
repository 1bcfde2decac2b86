"""The process on the other side of a `GradingPool`: reads items from its standard input, writes outcomes to its output.

It is a fresh interpreter, not a fork: no lock of torch's threads is held in it, the caller's main module is not run
again, and nothing that the caller imported is imported here. It ends when its input closes, so also when the caller is
killed; while it is busy, an alarm of the operating system ends it a little after the limit that the caller enforces.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import traceback
from typing import Any, BinaryIO

INSIDE = False  # True in a worker: code that would start a pool of its own grades directly there

_ALARM_GRACE = 5.0
_LENGTH = struct.Struct(">Q")


def send(stream: BinaryIO, message: Any) -> None:
    """Write one message: eight bytes of length, then its pickle, in one piece."""
    payload = pickle.dumps(message)
    stream.write(_LENGTH.pack(len(payload)) + payload)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read one message. Raises EOFError where the other side is gone."""
    header = stream.read(_LENGTH.size)
    payload = stream.read(_LENGTH.unpack(header)[0]) if len(header) == _LENGTH.size else b""
    if len(header) < _LENGTH.size or len(payload) < _LENGTH.unpack(header)[0]:
        raise EOFError
    return pickle.loads(payload)


def main() -> None:
    """Serve one caller until it closes the pipe."""
    global INSIDE
    INSIDE = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the caller decides what ends
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    # What user code prints must not get between the messages, and what it reads must not be our items.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    try:
        function_pickle, memory_limit = receive(requests)
        function = pickle.loads(function_pickle)
        getattr(function, "warm_up", lambda: None)()
        _limit_memory(memory_limit)
    except BaseException:
        send(replies, ("failed", traceback.format_exc()))
        return
    send(replies, ("ready", None))
    while True:
        try:
            item, time_limit = receive(requests)
        except EOFError:
            return
        _alarm(time_limit + _ALARM_GRACE)
        reply = _apply(function, item)
        _alarm(0)
        try:
            send(replies, reply)
        except BrokenPipeError:
            return
        except Exception:
            send(replies, ("error", ("TypeError", "the result can't be pickled", traceback.format_exc())))


def _apply(function: Any, item: Any) -> tuple[str, Any]:
    try:
        return "ok", function(item)
    except (MemoryError, RecursionError) as error:
        # What such an item asks for is beyond any grader: that is the item's fault, not the function's.
        return "crash", type(error).__name__
    except BaseException as error:
        return "error", (type(error).__name__, str(error), traceback.format_exc())


def _alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the default ends the process even inside a long C call
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(extra_bytes: int | None) -> None:
    """Cap the address space at what is mapped now plus `extra_bytes`; no cap where the platform has no way to."""
    if extra_bytes is None:
        return
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + extra_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
