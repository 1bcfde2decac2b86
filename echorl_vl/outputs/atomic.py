"""Writes files completely or not at all, and turns disk errors into messages that a user can act on."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from echorl_vl.errors import UserError, setting

# Messages of torch and safetensors for a failed write: they raise their own exceptions instead of OSError.
_WRITE_FAILURES = ("disk quota exceeded", "file too large", "pytorchstreamwriter", "inline_container", "iostream error")


def fsync_file(path: Path) -> None:
    """Forces the contents of `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    """Forces the file names in the folder `path` to the disk, if the system can (Windows can't)."""
    with contextlib.suppress(OSError):
        fsync_file(path)


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; what is written there replaces `path` in one step.

    A reader, or a run after a kill, finds the old file or the new one, never a part of it. After an exception the
    temporary file is removed and `path` is unchanged.

    Args:
        path: the file to write.
        durable: call fsync, so that the file survives a power cut and not only a killed process.

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
    """Removes temporary files that killed writers left in `folder`. Only for the owner of the folder's lock."""
    for partial in folder.glob(".*.partial-*"):
        if partial.is_file():
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) to `path`, completely or not at all. Raises UserError if the disk refuses."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_disk_failure(error: BaseException) -> bool:
    """Whether `error` is a failed write, also as torch and safetensors report it."""
    return _disk_code(error) is not None


def disk_error(path: Path, error: BaseException, doing: str = "write", free: int | None = None) -> UserError:
    """The UserError for a failed write: names the path, the cause and a way out.

    Args:
        path: the file or folder that could not be written.
        error: the exception.
        doing: the verb of the message.
        free: bytes that were free when the write failed (default: the bytes that are free now).
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
        f"can't {doing} {path}: {why}. Choose a writable folder with {setting('trainer.save_checkpoint_path')}"
    )


def _disk_code(error: BaseException | None) -> int | None:
    """errno of the failed write behind `error`, 0 if it has none; None if no write failed."""
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
    """Free bytes on the disk of `path`, which may not exist yet."""
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
