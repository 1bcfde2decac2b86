"""One writer per run folder: a lock that the system lets go when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from pathlib import Path

from echorl_vl.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: two processes in one run folder are not told apart there
    fcntl = None

NAME = ".lock"
_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


class FolderLock:
    """An exclusive lock on a folder, held until `release` or the end of the process (kill -9 included).

    Raises UserError, with the pid of the holder, where another process has it.
    """

    def __init__(self, folder: Path):
        self.path = Path(folder) / NAME
        self._descriptor: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(folder)
        except BaseException:
            self._close()
            raise
        _held.add(self)

    def _acquire(self, folder: Path) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._descriptor, 64).decode(errors="replace").strip() or "unknown"
                raise FolderInUse(folder, holder) from None
            except OSError as error:  # a network disk without locks: better to train unlocked than not at all
                if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Lets another process have the folder. The lock file stays: removing it would open a race."""
        if fcntl is not None and self._descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class FolderInUse(UserError):
    """Another process writes the folder."""

    def __init__(self, folder: Path, holder: str):
        self.holder = holder
        super().__init__(
            f"{folder} is being written by another process (pid {holder}). Wait until it ends, stop it with "
            f"`kill -INT {holder}`, or give this run another name with trainer.experiment_name=..."
        )


def _close_in_child() -> None:
    """A forked worker that outlives a killed run must not keep the run's folder locked."""
    for lock in list(_held):
        lock._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
