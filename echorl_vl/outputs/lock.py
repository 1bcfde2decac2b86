"""One writer per run folder: a lock that the system releases when its process ends, even if it is killed."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from filelock import FileLock, Timeout

from echorl_vl.errors import UserError

NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # of a network disk that has no file locks


class FolderLock:
    """An exclusive lock on a folder, held until `release` or until the process ends.

    The lock file contains the pid of its holder and stays after the release. On a disk without file locks the folder is
    used without one. A forked child does not hold the lock of its parent.

    Raises:
        FolderInUse: another process, or this one, holds the lock.
        OSError: the lock file can't be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / NAME
        # Not the fallback of filelock: a marker file outlives a killed process on another machine.
        self._lock = FileLock(self.path, blocking=False, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise FolderInUse(folder, self._holder()) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        try:
            self.path.write_text(f"{os.getpid()}\n")
        except PermissionError:  # Windows: a locked file can't be written through another handle
            pass
        except BaseException:
            self.release()
            raise

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return self.path.read_text(errors="replace")[:64].strip() or "unknown"
        return "unknown"

    def release(self) -> None:
        """Unlocks the folder. A second call does nothing."""
        self._lock.release(force=True)


class FolderInUse(UserError):
    """Another process is writing to the folder."""

    def __init__(self, folder: Path, holder: str):
        self.holder = holder
        super().__init__(
            f"{folder} is in use by another process (pid {holder}). Wait until it ends, stop it with "
            f"`kill -INT {holder}`, or give this run another folder with trainer.save_checkpoint_path=..."
        )
