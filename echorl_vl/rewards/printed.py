"""What user code prints in a worker: shown on standard error as text that no terminal obeys, and only so much of it."""

from __future__ import annotations

import os
import sys
import threading
from typing import BinaryIO

from echorl_vl.outputs.terminal import visible

LINES = 20
"""Shown of what all workers of a pool print between two calls of `renew`."""
_LONGEST = 500
_CHUNK = 1 << 16


class Printed:
    """Shows what workers write into pipes, each line behind `name`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self.renew()

    def renew(self) -> None:
        self._left = LINES

    def pipe(self) -> tuple[int, threading.Thread]:
        """A descriptor to write into, for the caller to close, and the thread that reads until all of it are closed."""
        reads, writes = os.pipe()
        thread = threading.Thread(target=self._follow, args=[os.fdopen(reads, "rb")], daemon=True)
        thread.start()
        return writes, thread

    def _follow(self, stream: BinaryIO) -> None:
        with stream:
            while True:
                shown = self._left >= 0
                # What is not shown is read all the same: a full pipe would stop the worker.
                part = stream.readline(_LONGEST) if shown else stream.read1(_CHUNK)
                if not part:
                    return
                with self._lock:
                    self._left -= 1
                    left = self._left
                if shown and left >= -1:
                    self._show(part.decode(errors="replace").rstrip() if left >= 0 else "... (more is not shown)")

    def _show(self, line: str) -> None:
        try:
            print(f"[{visible(self._name)}] {visible(line)}", file=sys.stderr, flush=True)
        except (OSError, ValueError, AttributeError):  # there is no standard error, or it is closed
            return
