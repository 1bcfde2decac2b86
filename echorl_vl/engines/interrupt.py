"""Ctrl-C and SIGTERM: the first signal stops the run after its current step, the second at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class StopRequest:
    """Handles SIGINT and SIGTERM inside a `with` block.

    The first signal sets `asked`, so that the run can finish and save its step; a second one raises KeyboardInterrupt.
    Outside the main thread, where Python allows no signal handlers, it does nothing.

    Args:
        on_first: called at the first signal.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
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
        logger.warning("stopping after this step; press Ctrl-C again to stop at once")
        self._on_first()
