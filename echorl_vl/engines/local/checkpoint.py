"""Checkpoints that are complete or absent, with a manifest that detects damage.

    run_folder/
      global_step_40/
        actor/huggingface/     weights, config, tokenizer, processor: what transformers' from_pretrained loads
        training_state.pt      optimizer, KL weight, counters (`state`); random numbers are functions of the counters
        manifest.json          size of every other file, and its sha256 as `trainer.checkpoint_hash` says
      checkpoint_tracker.json  {"last_global_step": 40}, as in EasyR1

A checkpoint is written into a hidden folder, flushed to the disk and then renamed. A run that is killed at any moment
leaves its older checkpoints and at most one hidden folder, which the next start removes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic

MODEL_FOLDER = Path("actor") / "huggingface"
STATE_FILE = "training_state.pt"
MANIFEST = "manifest.json"
TRACKER = "checkpoint_tracker.json"
HASHED_UP_TO = 2**30  # bytes; larger files have no sha256 with `checkpoint_hash: auto`. A GiB takes about a second

_FINISHED = re.compile(r"global_step_(\d+)")
_PARTIAL = re.compile(r"\..+\.partial-\d+")
_REPLACED = re.compile(r"\.(global_step_\d+)\.replaced-\d+")

logger = logging.getLogger(__name__)


def save_checkpoint(
    folder: Path,
    step: int,
    write: Callable[[Path], None],
    keep: int = -1,
    expected_bytes: int | None = None,
    model_only: bool = False,
    hashes: str = "auto",
) -> Path:
    """Saves a checkpoint as `folder/global_step_<step>`.

    Args:
        folder: the run folder.
        step: training steps done, the number in the name. An existing checkpoint of this step is replaced.
        write: writes the files into the empty folder that it gets.
        keep: how many checkpoints to keep, this one included; 0 or less keeps all (EasyR1's `save_limit`). Older ones
            are removed after the new one is on the disk.
        expected_bytes: size of the new checkpoint; None takes that of the newest one.
        model_only: whether `write` leaves out the training state.
        hashes: `trainer.checkpoint_hash`. The manifest has the sha256 of all files ("all"), of none ("off"), or of
            those of at most `HASHED_UP_TO` bytes ("auto").

    Returns:
        The folder of the checkpoint.

    Raises:
        UserError: the disk is full or can't be written. The new checkpoint is removed, and the older ones stay
            unchanged. Other errors of `write` are raised as they are, after the same clean-up.
    """
    folder = Path(folder)
    final = folder / f"global_step_{step}"
    partial = folder / f".{final.name}.partial-{os.getpid()}"
    replaced = folder / f".{final.name}.replaced-{os.getpid()}"
    _check_space(folder, final, expected_bytes, model_only)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write(partial)
        _write_manifest(partial, hashes)
        if final.exists():
            os.replace(final, replaced)
        os.replace(partial, final)
        atomic.fsync_folder(folder)
    except BaseException as error:
        free = atomic.free_bytes(folder)
        if replaced.exists() and not final.exists():
            os.replace(replaced, final)
        shutil.rmtree(partial, ignore_errors=True)
        if atomic.is_disk_failure(error):
            raise UserError(
                f"{atomic.disk_error(final, error, 'save the checkpoint', free)}\n{_older(folder, final)}"
            ) from error
        raise
    shutil.rmtree(replaced, ignore_errors=True)
    atomic.write_text(folder / TRACKER, json.dumps({"last_global_step": step}) + "\n")
    if keep > 0:
        older = sorted((s for s in _steps(folder) if s < step), reverse=True)
        for obsolete in older[keep - 1 :]:
            _remove(folder / f"global_step_{obsolete}")
    return final


def find_last_checkpoint(folder: Path, report: Callable[[str], None] | None = None) -> Path | None:
    """Finds the newest intact checkpoint in a run folder.

    A checkpoint without training state counts only if it is the newest of all (`trainer.save_model_only`).

    Args:
        folder: the run folder.
        report: called with a line for each checkpoint that is skipped; None logs a warning.

    Returns:
        The checkpoint, or None if the folder has none.

    Raises:
        UserError: every checkpoint is damaged.
    """
    folder = Path(folder)
    report = report or logger.warning
    damaged = []
    for step in sorted(_steps(folder), reverse=True):
        checkpoint = folder / f"global_step_{step}"
        fault = checkpoint_fault(checkpoint)
        if fault is None and (has_training_state(checkpoint) or not damaged):
            return checkpoint
        why = f"is damaged: {fault}" if fault else "has no training state (trainer.save_model_only)"
        damaged.append(f"{checkpoint} {why}")
        report(f"{damaged[-1]}; trying the previous one")
    if damaged:
        raise UserError(
            "\n".join(damaged) + "\nNo checkpoint is left to resume from. Restore one of these from a copy, or start a "
            "new run in another folder with trainer.find_last_checkpoint=false."
        )
    return None


def has_training_state(checkpoint: Path) -> bool:
    """Whether a checkpoint can be resumed, or holds weights alone (`trainer.save_model_only`)."""
    return (checkpoint / STATE_FILE).is_file()


def drop_older_states(folder: Path, step: int) -> None:
    """Removes the training state from the checkpoints before `step`. A kill at any moment leaves each of them intact.

    Raises:
        UserError: the disk can't be written.
    """
    for older in _steps(folder):
        checkpoint = folder / f"global_step_{older}"
        if older >= step or not has_training_state(checkpoint) or checkpoint_fault(checkpoint):
            continue
        content = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        content["files"].pop(STATE_FILE, None)
        atomic.write_text(checkpoint / MANIFEST, json.dumps(content, indent=1) + "\n")
        (checkpoint / STATE_FILE).unlink()


def recover_last_checkpoint(folder: Path, report: Callable[[str], None] | None = None) -> Path | None:
    """Calls `remove_leftovers`, then `find_last_checkpoint`. Only for the process that owns the run folder."""
    remove_leftovers(folder)
    return find_last_checkpoint(folder, report)


def remove_leftovers(folder: Path) -> None:
    """Removes the partial folders of killed saves; restores a checkpoint that was moved aside and not replaced."""
    folder = Path(folder)
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        if match := _REPLACED.fullmatch(entry.name):
            final = folder / match.group(1)
            if final.exists():
                _remove(entry)
            else:
                os.replace(entry, final)
        elif _PARTIAL.fullmatch(entry.name) or entry.name.startswith(".removed_global_step_"):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def checkpoint_step(checkpoint: Path) -> int:
    """The step in the name of a checkpoint: 40 for `.../global_step_40`.

    Raises:
        UserError: the folder has another name.
    """
    match = _FINISHED.fullmatch(Path(checkpoint).name)
    if match is None:
        raise UserError(f"{checkpoint} is not a checkpoint: expected a folder called global_step_<number>")
    return int(match.group(1))


def checkpoint_fault(checkpoint: Path) -> str | None:
    """Compares the files of a checkpoint with its manifest: sizes, and the sha256 of those that have one.

    Returns:
        What is wrong with the first file that differs; None if the checkpoint is intact.
    """
    try:
        files = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"]
        entries = [(name, int(entry["size"]), entry.get("sha256")) for name, entry in files.items()]
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} can't be read ({type(error).__name__}: {error})"
    for name, size, digest in entries:
        path = checkpoint / name
        try:
            found = path.stat().st_size
            if found != size:
                return f"{name} has {found} bytes, expected {size}"
            if digest is not None and _sha256(path) != digest:
                return f"{name} has changed since it was written (sha256 differs)"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} can't be read ({error.strerror})"
    return None


def save_training_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a training state with torch.save.

    Args:
        path: the file.
        state: tensors, numbers, strings, bytes and None, in dicts, lists and tuples. torch.load reads these with
            weights_only=True, so a checkpoint from another source can't run code.

    Raises:
        TypeError: the state has a value of another type.
    """
    _check_plain(state, "state")
    torch.save(state, path)


def load_training_state(path: Path) -> dict[str, Any]:
    """Reads a training state onto the CPU.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: this checkpoint has a model but no training state, so it can't be resumed. Set "
            "worker.actor.model.model_path to its actor/huggingface folder to start from its weights, or start a new "
            "run with trainer.find_last_checkpoint=false."
        ) from error
    except Exception as error:
        raise UserError(f"{path} can't be read as a training state ({type(error).__name__}: {error})") from error


def _check_space(folder: Path, final: Path, expected_bytes: int | None, model_only: bool) -> None:
    if expected_bytes is None and (steps := _steps(folder)):
        newest = folder / f"global_step_{max(steps)}"
        files = [path for path in newest.rglob("*") if path.is_file()]
        if model_only:
            files = [path for path in files if path.name != STATE_FILE]
        expected_bytes = sum(path.stat().st_size for path in files)
    free = atomic.free_bytes(folder)
    if expected_bytes is not None and free < expected_bytes:
        raise UserError(
            f"can't save the checkpoint {final}: it needs {atomic.human_bytes(expected_bytes)}, and the disk has "
            f"{atomic.human_bytes(free)} free. Free some space, or lower trainer.save_limit.\n"
            f"{_older(folder, final)}"
        )


def _older(folder: Path, failed: Path) -> str:
    steps = sorted(_steps(folder))
    if not steps:
        return f"There is no older checkpoint in {folder}."
    names = ", ".join(f"global_step_{step}" for step in steps)
    return f"These checkpoints in {folder} are intact: {names}."


def _write_manifest(folder: Path, hashes: str) -> None:
    """Flushes each file under `folder` to the disk and writes its size, and its sha256 as `hashes` says."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        atomic.fsync_file(path)
        entry: dict[str, Any] = {"size": path.stat().st_size}
        if hashes == "all" or (hashes == "auto" and entry["size"] <= HASHED_UP_TO):
            entry["sha256"] = _sha256(path)
        files[path.relative_to(folder).as_posix()] = entry
    if not files:
        raise ValueError(f"the writer of {folder} wrote no file")
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"version": 1, "files": files}, indent=1) + "\n", encoding="utf-8")
    atomic.fsync_file(manifest)
    for path in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        atomic.fsync_folder(path)


def _remove(folder: Path) -> None:
    """Renames the folder first, so that a kill leaves no damaged checkpoint under a valid name."""
    aside = folder.with_name(f".removed_{folder.name.lstrip('.')}")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    matches = (_FINISHED.fullmatch(entry.name) for entry in folder.iterdir() if entry.is_dir())
    return [int(match.group(1)) for match in matches if match]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(key, f"a key of {where}")
            _check_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif not (value is None or type(value) in (bool, int, float, str, bytes) or isinstance(value, torch.Tensor)):
        raise TypeError(
            f"{where} is a {type(value).__name__}: only tensors, numbers, strings, bytes, None, dicts, lists and "
            "tuples can be saved"
        )
