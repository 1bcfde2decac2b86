"""Checkpoints that are there whole or not at all, with a manifest that tells a damaged one.

    run_folder/
      global_step_40/
        actor/huggingface/     weights, config, tokenizer, processor: what transformers' from_pretrained loads
        training_state.pt      optimizer, KL weight, counters (`state`); random numbers are functions of these
        manifest.json          size of every other file, and sha256 where `trainer.checkpoint_hash` asks for it
      checkpoint_tracker.json  {"last_global_step": 40}, as in EasyR1

A checkpoint is written into a hidden folder beside its place, forced to the disk and only then renamed: a run
that is killed at any moment leaves the older checkpoints and at most one hidden folder, which the next start removes.
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
HASHED_UP_TO = 2**30  # bytes of a file, under `checkpoint_hash: auto`: a second

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
    """Saves one checkpoint as `folder/global_step_<step>`, whole or not at all.

    Args:
        folder: the run folder.
        step: training steps done, the number in the name. An existing checkpoint of that step is replaced.
        write: fills the (empty) folder that it is given; it knows nothing of the rest.
        keep: how many checkpoints to keep, this one included; 0 or less: all (EasyR1's `save_limit`). Older ones
            are removed only when the new one is safe on the disk.
        expected_bytes: size of what `write` will write; without it, that of the newest checkpoint is taken.
        model_only: `write` writes no training state.
        hashes: `trainer.checkpoint_hash`, the files whose sha256 goes into the manifest: "all", none ("off"), or those
            of at most `HASHED_UP_TO` bytes ("auto").

    Returns:
        the folder of the checkpoint.

    Raises:
        UserError: the disk is full or refuses to be written. Nothing of the new checkpoint is left, and the older
            ones are untouched. What `write` raises for other reasons goes through, after the same clean-up.
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
    """The newest checkpoint in `folder` whose files are all as they were written; None where there is none.

    One of the model alone is given only if it is the newest of all: that of a run's end (`trainer.save_model_only`).

    Args:
        folder: the run folder.
        report: takes one line for each damaged checkpoint that is passed over; by default it is logged as a warning.

    Raises:
        UserError: there are checkpoints, and every one is damaged.
    """
    folder = Path(folder)
    report = report or logger.warning
    damaged = []
    for step in sorted(_steps(folder), reverse=True):
        checkpoint = folder / f"global_step_{step}"
        fault = checkpoint_fault(checkpoint)
        if fault is None and (has_training_state(checkpoint) or not damaged):
            return checkpoint
        why = f"is damaged: {fault}" if fault else "holds the model alone (trainer.save_model_only)"
        damaged.append(f"{checkpoint} {why}")
        report(f"{damaged[-1]}; trying the one before")
    if damaged:
        raise UserError(
            "\n".join(damaged) + "\nNo checkpoint is left to go on from. Start anew in another folder with "
            "trainer.find_last_checkpoint=false, or restore one of these from a copy."
        )
    return None


def has_training_state(checkpoint: Path) -> bool:
    """Whether training can go on from a checkpoint, or only from its weights (`trainer.save_model_only`)."""
    return (checkpoint / STATE_FILE).is_file()


def drop_older_states(folder: Path, step: int) -> None:
    """Leaves the model alone in the checkpoints before `step`. A kill at any moment leaves each whole, as it was or is.

    Raises UserError: the disk refuses to be written.
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
    """Clears what a killed save left behind, then `find_last_checkpoint`. Only for the owner of the run folder."""
    remove_leftovers(folder)
    return find_last_checkpoint(folder, report)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed saves left half-written; puts back a checkpoint that was set aside and not replaced."""
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
    """The step of `.../global_step_40`: 40. Raises UserError for another name."""
    match = _FINISHED.fullmatch(Path(checkpoint).name)
    if match is None:
        raise UserError(f"{checkpoint} is no checkpoint: its name should be global_step_<number>")
    return int(match.group(1))


def checkpoint_fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint: the first file that isn't as the manifest says, and how; None if all are.

    A file without a sha256 in the manifest is known by its size.
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
                return f"{name} has {found} bytes, {size} were written"
            if digest is not None and _sha256(path) != digest:
                return f"{name} has changed since it was written (sha256 differs)"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} can't be read ({error.strerror})"
    return None


def save_training_state(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` with torch.save. Meant for use inside `save_checkpoint`'s `write`.

    Args:
        path: the file, by custom `training_state.pt`.
        state: tensors, numbers, strings, bytes and None, in dicts, lists and tuples: what torch.load gives back with
            weights_only=True, so that a checkpoint from elsewhere can't run code.

    Raises:
        TypeError: something else is in it; names where.
    """
    _check_plain(state, "state")
    torch.save(state, path)


def load_training_state(path: Path) -> dict[str, Any]:
    """Reads what `save_training_state` wrote, onto the CPU. Raises UserError for a missing or damaged file."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: this checkpoint holds a model but no training state, so training can't go on from it. "
            "Give its actor/huggingface folder as worker.actor.model.model_path to start from its weights, or start "
            "anew beside it with trainer.find_last_checkpoint=false."
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
            f"{atomic.human_bytes(free)} free. Free some space, or set trainer.save_limit lower.\n"
            f"{_older(folder, final)}"
        )


def _older(folder: Path, failed: Path) -> str:
    steps = sorted(_steps(folder))
    if not steps:
        return f"There is no older checkpoint in {folder}."
    names = ", ".join(f"global_step_{step}" for step in steps)
    return f"Checkpoints in {folder} that are intact: {names}."


def _write_manifest(folder: Path, hashes: str) -> None:
    """Size, and sha256 where `hashes` asks for it, of each file under `folder`, each forced to the disk before."""
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
    """Renames first, so that a kill in the middle doesn't leave a damaged checkpoint under a good name."""
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
