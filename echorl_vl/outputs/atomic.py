"""Files that are written whole or not at all, and disk errors in words that a user can act on."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from echorl_vl.errors import UserError, setting

# What torch and safetensors say when a write fails: they raise their own exceptions in place of OSError.
_WRITE_FAILURES = ("disk quota exceeded", "file too large", "pytorchstreamwriter", "inline_container", "iostream error")


def fsync_file(path: Path) -> None:
    """Forces the bytes of `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    """Forces the names inside the folder `path` to the disk, where the system can (not on Windows)."""
    with contextlib.suppress(OSError):
        fsync_file(path)


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what is written there takes the place of `path` in one step.

    A reader, or a run that is killed, finds the old file or the new one, never a part of one. After an exception
    the temporary file is gone and `path` is as before.

    Args:
        path: the file to write.
        durable: also survive a power cut (fsync), not only a killed process.

    Raises:
        UserError: the disk is full or the folder can't be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if durable:
            fsync_file(partial)
        os.replace(partial, path)
        if durable:
            fsync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def remove_partials(folder: Path) -> None:
    """Removes temporary files that killed writers have left in `folder`. Only for its owner: no writer may be alive."""
    for partial in folder.glob(".*.partial-*"):
        if partial.is_file():
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) to `path`, whole or not at all. Raises UserError where the disk refuses."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_disk_failure(error: BaseException) -> bool:
    """Whether `error` is a write that the disk refused, also in the words of torch and safetensors."""
    return _disk_code(error) is not None


def disk_error(path: Path, error: BaseException, doing: str = "write", free: int | None = None) -> UserError:
    """The UserError for a failed write: names the path, the cause and what to do about it.

    Args:
        path: what was to be written.
        error: what was raised.
        doing: the verb of the message.
        free: bytes that were free at the time of the failure; by default those that are free now.
    """
    code = _disk_code(error)
    free = free_bytes(path) if free is None else free
    if code in (errno.ENOSPC, errno.EDQUOT) or (code == 0 and free < 2**20):
        return UserError(
            f"can't {doing} {path}: no space left on the disk ({human_bytes(free)} free). "
            f"Free some space, or choose another folder with {setting('trainer.save_checkpoint_path')}"
        )
    reasons = {
        errno.EACCES: "no permission to write there",
        errno.EPERM: "no permission to write there",
        errno.EROFS: "the disk is read-only",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
        errno.EEXIST: "a file with that name is in the way",
        errno.EISDIR: "a folder with that name is in the way",
        errno.EFBIG: "the file would be larger than the system allows",
        errno.ENAMETOOLONG: "the name is too long",
    }
    why = reasons.get(code or 0, str(error) or type(error).__name__)
    return UserError(
        f"can't {doing} {path}: {why}. Choose a folder that can be written with "
        f"{setting('trainer.save_checkpoint_path')}"
    )


def _disk_code(error: BaseException | None) -> int | None:
    """errno of the failed write behind `error`; 0 for one without a number; None where no write failed."""
    code = None
    while isinstance(error, Exception):
        words = str(error).lower()
        if isinstance(error, OSError):
            code = error.errno or code or 0
        elif "no space left" in words:
            code = errno.ENOSPC
        elif any(sign in words for sign in _WRITE_FAILURES):
            code = code or 0
        error = error.__cause__ or error.__context__
    return code


def free_bytes(path: Path) -> int:
    """Free bytes on the disk of `path`, which need not exist yet."""
    path = Path(path).absolute()
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free
    return 0


def human_bytes(count: float) -> str:
    """1536 -> '1.5 KB' (powers of 1024)."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"
