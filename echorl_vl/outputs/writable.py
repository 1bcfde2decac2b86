"""Whether a run folder could be written, told without making anything."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from echorl_vl.outputs import atomic


def check_writable(path: str | Path) -> None:
    """Raises UserError where a folder ``path`` is not there and can't be made, or can't be written."""
    path = Path(path).absolute()
    try:
        there = next(folder for folder in (path, *path.parents) if _exists(folder))
    except OSError as error:  # a part of the path is a file, its name is too long, a folder on the way can't be read
        raise atomic.disk_error(path, error) from error
    code = None
    if not there.is_dir():
        code = errno.ENOTDIR
    elif not os.access(there, os.W_OK | os.X_OK):
        code = errno.EROFS if os.statvfs(there).f_flag & os.ST_RDONLY else errno.EACCES
    if code is not None:
        raise atomic.disk_error(path, OSError(code, os.strerror(code)))


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True
