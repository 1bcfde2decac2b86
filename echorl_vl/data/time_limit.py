"""A time limit for Python code in any thread: a watchdog thread raises `TimeLimitExceeded` in a late one.

Unlike an alarm signal it works outside the main thread, too. It acts between two bytecodes, so it can't stop a long
call into C, which `template_trial` can.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time

_POLL_SECONDS = 0.25


class TimeLimitExceeded(BaseException):  # not an Exception, which the code might catch
    """The code in a `time_limit` block takes too long."""


class _Watchdog:
    """Deadlines of threads, and the thread that checks them, which starts with the first deadline."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.deadlines: dict[int, float] = {}
        self.thread: threading.Thread | None = None

    def watch(self) -> None:
        while True:
            time.sleep(_POLL_SECONDS)
            with self.lock:
                now = time.monotonic()
                for ident in [ident for ident, deadline in self.deadlines.items() if deadline < now]:
                    del self.deadlines[ident]
                    _raise_in(ident, ctypes.py_object(TimeLimitExceeded))


_watchdog = _Watchdog()
os.register_at_fork(
    after_in_child=lambda: _watchdog.__init__()
)  # a fork has no watchdog thread, and may have a locked lock


class time_limit:
    """Raises TimeLimitExceeded in the block once ``seconds`` have passed. Blocks can't be nested."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __enter__(self) -> None:
        with _watchdog.lock:
            if _watchdog.thread is None:
                _watchdog.thread = threading.Thread(target=_watchdog.watch, name="time limit", daemon=True)
                _watchdog.thread.start()
            _watchdog.deadlines[threading.get_ident()] = time.monotonic() + self.seconds

    def __exit__(self, *_) -> None:
        with _watchdog.lock:
            _watchdog.deadlines.pop(threading.get_ident(), None)
            _raise_in(threading.get_ident(), None)  # withdraws an error that is set but not yet raised


def _raise_in(ident: int, error: ctypes.py_object | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), error)
