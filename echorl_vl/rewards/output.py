"""Show what user code prints in workers, on standard error, limited in length and without control sequences.

With `--quiet` nothing is shown.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import BinaryIO

from echorl_vl.outputs.log import is_quiet
from echorl_vl.outputs.terminal import visible

LINES = 20
"""Lines shown of all workers of a pool between two calls of `reset`."""
_LONGEST = 500
_CHUNK = 1 << 16


class WorkerOutput:
    """Shows the lines that workers write into pipes, with `name` in front of each."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Allow `LINES` more lines."""
        self._left = LINES

    def pipe(self) -> tuple[int, threading.Thread]:
        """Open a pipe. Returns a descriptor to write into, for the caller to close, and the thread that reads."""
        reads, writes = os.pipe()
        thread = threading.Thread(target=self._follow, args=[os.fdopen(reads, "rb")], daemon=True)
        thread.start()
        return writes, thread

    def _follow(self, stream: BinaryIO) -> None:
        with stream:
            while True:
                shown = self._left >= 0
                # Lines that are not shown are read, too: a full pipe would stop the worker.
                part = stream.readline(_LONGEST) if shown else stream.read1(_CHUNK)
                if not part:
                    return
                with self._lock:
                    self._left -= 1
                    left = self._left
                if shown and left >= -1:
                    self._show(part.decode(errors="replace").rstrip() if left >= 0 else "... (more is not shown)")

    def _show(self, line: str) -> None:
        if is_quiet():
            return
        try:
            print(f"[{visible(self._name)}] {visible(line)}", file=sys.stderr, flush=True)
        except (OSError, ValueError, AttributeError):  # standard error is missing or closed
            return
