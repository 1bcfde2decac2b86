"""Ctrl-C or SIGTERM: the first asks for a stop after the step at hand, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


class StopRequest:
    """Catches SIGINT and SIGTERM while it is entered; `asked` tells whether one came.

    The first signal only sets `asked`, so that the step at hand can end and be saved; a second one raises
    KeyboardInterrupt. Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.asked = False
        self._on_first = on_first
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._on_first()
