"""Folders for runs: whether one is free, has a run or something else, and how one is created, locked and tested."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic
from echorl_vl.outputs.lock import FolderLock

TRAINED = ".trained"  # exists from the last checkpoint until summary.json: only summary and plots are left to do
FOLDERS = ("rollouts", "validation", "plots", "tensorboard")
FILES = ("config.yaml", "environment.json", "metrics.jsonl", "summary.json")
_PROBE_BYTES = 2**16


def numbered(base: Path, number: int) -> Path:
    return base if number == 1 else base.with_name(f"{base.name}_{number}")


def newest_number(base: Path) -> int:
    """The highest n for which base, base_2, ..., base_n all exist; 1 if none does."""
    number = 1
    while numbered(base, number + 1).exists() and numbered(base, number).exists():
        number += 1
    return number


def state_of(folder: Path) -> str:
    """The state of a folder: free (empty), unfinished, finished, or other (files that are not a run).

    A run with a damaged summary.json is unfinished: it ends once more and writes the file again.
    """
    try:
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise atomic.disk_error(folder, error, "read") from error
    if "config.yaml" in names:
        try:
            finished = bool(json.loads(read_text(folder / "summary.json"))["finished"])
        except (OSError, ValueError, KeyError, TypeError):
            finished = False
        return "finished" if finished else "unfinished"
    return "other" if any(not name.startswith(".") for name in names) else "free"


def check_kinds(folder: Path) -> None:
    """Checks the entries of a run folder. Raises UserError for a file that should be a folder, or the reverse."""
    for name in FOLDERS:
        if (folder / name).is_file():
            raise UserError(f"{folder / name} is a file, expected a folder: move it out of the way")
    for name in FILES:
        if (folder / name).is_dir():
            raise UserError(f"{folder / name} is a folder, expected a file: move it out of the way")


def has_rows(metrics: Path) -> bool:
    return metrics.is_file() and metrics.stat().st_size > 0


def take(folder: Path) -> FolderLock:
    """Creates and locks the folder. Writes a small file to find a full disk now, not at the first save."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
    except OSError as error:
        raise atomic.disk_error(folder, error) from error
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
        atomic.fsync_file(probe)
    except OSError as error:
        lock.release()
        raise atomic.disk_error(folder, error) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return lock


@contextlib.contextmanager
def released_on_error(lock: FolderLock) -> Iterator[None]:
    try:
        yield
    except BaseException:
        lock.release()
        raise


def read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def check_writable(path: str | Path) -> None:
    """Raises UserError if the folder `path` can't be created or can't be written."""
    path = Path(path).absolute()
    try:
        there = next(folder for folder in (path, *path.parents) if _exists(folder))
    except OSError as error:  # a part of the path is a file, the name is too long, or a folder can't be read
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
