"""A time limit for Python code in any thread: a watchdog thread raises `TookTooLong` in the one that is late.

Unlike an alarm signal it works outside the main thread too. It acts between two bytecodes, so it can't end one long
call into C; `template_trial` is for those.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time

_POLL_SECONDS = 0.25


class TookTooLong(BaseException):  # no Exception, so that nothing on the way takes it for one of its own
    """The code below a `time_limit` is late."""


class _Watchdog:
    """Deadlines of the threads that have one, and the thread that looks after them (started with the first)."""

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
                    _raise_in(ident, ctypes.py_object(TookTooLong))


_watchdog = _Watchdog()
os.register_at_fork(after_in_child=lambda: _watchdog.__init__())  # threads don't come along, a held lock would


class time_limit:
    """Raises TookTooLong within the block, or at its very end, once ``seconds`` have passed. Not to be nested."""

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
            _raise_in(threading.get_ident(), None)  # takes back one that has been set and not yet raised


def _raise_in(ident: int, error: ctypes.py_object | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), error)
