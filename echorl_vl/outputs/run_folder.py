"""One folder a run: what is in it, where the next run goes, and when an unfinished one goes on.

    config.yaml         the resolved config              rollouts/step_000012.parquet    what the policy wrote
    environment.json    versions, seed, command line     validation/step_000012.parquet  the same on held-out problems
    metrics.jsonl       one row a step                   plots/*.png
    tensorboard/        where asked for                  global_step_N/                  checkpoints
    summary.json        written when the run ends

Again and again the same command is safe: a finished run is never touched (the next one goes to `<path>_2`), an
unfinished one goes on from its newest good checkpoint, and two processes never write one folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic
from echorl_vl.outputs.environment import describe_environment
from echorl_vl.outputs.lock import FolderInUse, FolderLock

Difference = tuple[str, Any, Any]  # dotted key, value in the folder's config, value now

# Keys that say where and how often something is written, or how the work is split, not what is computed.
HARMLESS_KEYS = frozenset(
    {
        f"trainer.{name}"
        for name in (
            "project_name",
            "experiment_name",
            "logger",
            "save_checkpoint_path",
            "find_last_checkpoint",
            "save_freq",
            "save_limit",
            "save_model_only",
            "max_bad_steps",
            "rollout_save_freq",
            "val_freq",
            "val_before_train",
            "val_generations_to_log",
            "ray_timeline",
        )
    }
    | {
        "worker.actor.micro_batch_size_per_device_for_update",
        "worker.actor.micro_batch_size_per_device_for_experience",
        "worker.reward.num_cpus",
        "worker.reward.time_limit",
    }
)
_PROBE_BYTES = 2**16


class RunFolder:
    """A run folder that this process owns, made by `RunFolder.open`.

    path: the folder. checkpoint: the checkpoint to go on from, None for a run that starts at step 0.
    resumed: whether an unfinished run goes on (from `checkpoint`, or from step 0 where it had none yet).
    notes: lines for the user about the choice of the folder. run_id: a random name that a resumed run keeps.
    """

    def __init__(self, path: Path, lock: FolderLock | None, checkpoint: Path | None, resumed: bool, notes: list[str]):
        self.path = path
        self.checkpoint = checkpoint
        self.resumed = resumed
        self.notes = notes
        self.run_id = secrets.token_hex(8)
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: str | Path,
        config_yaml: str,
        resume: bool = True,
        *,
        find_checkpoint: Callable[[Path], Path | None],
        diff: Callable[[str, str], list[Difference]] | None = None,
    ) -> RunFolder:
        """Finds or makes the folder of this run, takes its lock and writes config.yaml into a new one.

        Args:
            path: where the run should go (`trainer.save_checkpoint_path`).
            config_yaml: the resolved config.
            resume: go on with an unfinished run (`trainer.find_last_checkpoint`).
            find_checkpoint: gives the newest good checkpoint of a folder or None, e.g. `recover_last_checkpoint`.
            diff: the differences between two configs that matter; by default `config_differences`.

        Raises:
            UserError: the folder can't be written, another process writes it, or it holds an unfinished run with
                another config.
        """
        base = Path(path).absolute()
        diff = diff or config_differences
        notes: list[str] = []
        number = _newest_number(base)
        while True:
            folder = _numbered(base, number)
            state = _state(folder)
            if state in ("free", "unfinished"):
                try:
                    lock = _take(folder)
                except FolderInUse:
                    if resume:
                        raise
                    state = "in use"
                else:
                    with _released_on_error(lock):
                        state = _state(folder)  # another process may have been quicker: look again, locked
                        run = cls._settle(folder, lock, state, config_yaml, resume, find_checkpoint, diff, notes)
                    if run is not None:
                        return run
                    lock.release()
            if state == "finished":
                notes.append(f"{folder} holds a finished run; this one goes to {_numbered(base, number + 1)}")
            elif state == "in use":
                notes.append(f"{folder} is being written by another process; this run goes to the next number")
            elif state == "other":
                notes.append(f"{folder} holds other files; this run goes to {_numbered(base, number + 1)}")
            number += 1

    @classmethod
    def _settle(cls, folder, lock, state, config_yaml, resume, find_checkpoint, diff, notes) -> RunFolder | None:
        """The run in `folder`, which is locked; None (with a note) if it has to go elsewhere."""
        if state == "free":
            atomic.write_text(folder / "config.yaml", config_yaml)
            return cls(folder, lock, None, False, notes)
        if state != "unfinished":
            return None
        if not resume:
            notes.append(f"{folder} holds an unfinished run, which stays as it is (trainer.find_last_checkpoint=false)")
            return None
        differences = diff(_read(folder / "config.yaml"), config_yaml)
        checkpoint = find_checkpoint(folder)
        if differences and checkpoint is None and not _has_rows(folder / "metrics.jsonl"):
            # A start that failed, on a mistake in its data, say: there is nothing to lose.
            atomic.write_text(folder / "config.yaml", config_yaml)
            return cls(folder, lock, None, False, notes)
        if differences and checkpoint is None:
            notes.append(f"{folder} holds a run with another config that had saved nothing yet: it stays as it is")
            return None
        if differences:
            rows = "\n".join(f"  {key}: {_show(old)} there, {_show(new)} now" for key, old, new in differences)
            raise UserError(
                f"{folder} holds an unfinished run with another config, so it can't go on:\n{rows}\n"
                "Put these values back to go on with it, give this run another name with "
                "trainer.experiment_name=..., or start beside it with trainer.find_last_checkpoint=false; with "
                "trainer.load_checkpoint_path=.../global_step_N as well, it starts from that checkpoint."
            )
        if checkpoint is None:
            notes.append(f"{folder} holds a run that had saved nothing yet: it starts again from step 0")
        else:
            notes.append(f"{folder} holds an unfinished run: going on from {checkpoint.name}")
        run = cls(folder, lock, checkpoint, True, notes)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            run.run_id = str(json.loads(_read(folder / "environment.json"))["run_id"])
        return run

    @classmethod
    def attach(cls, path: Path, resume_step: int | None = None) -> RunFolder:
        """The folder as another process of the same run sees it, without a lock of its own.

        resume_step: steps that the run has gone on from; None for a new run.
        """
        checkpoint = path / f"global_step_{resume_step}" if resume_step else None
        return cls(path, None, checkpoint, resume_step is not None, [])

    @property
    def resume_step(self) -> int:
        """Steps that are done already: the number in the checkpoint's name, 0 without one."""
        return int(self.checkpoint.name.rpartition("_")[2]) if self.checkpoint else 0

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def rollouts_file(self, step: int) -> Path:
        """Where the rollouts of a training step go."""
        return self.path / "rollouts" / f"step_{step:06d}.parquet"

    def validation_file(self, step: int) -> Path:
        """Where the held-out rollouts after `step` steps go."""
        return self.path / "validation" / f"step_{step:06d}.parquet"

    def write_environment(self, device: str, seed: int) -> None:
        """Writes environment.json; a resumed run adds what it runs in now under "resumed"."""
        path = self.path / "environment.json"
        now = {"run_id": self.run_id, **describe_environment(device, seed)}
        if self.resumed and path.exists():
            with contextlib.suppress(ValueError):
                first = json.loads(_read(path))
                first.setdefault("resumed", []).append({"from_step": self.resume_step, **now})
                now = first
        atomic.write_text(path, json.dumps(now, indent=2) + "\n")

    def finish(self, summary: dict[str, Any] | None = None) -> Path:
        """Marks the run as finished: summary.json with "finished": true beside what `summary` holds."""
        path = self.path / "summary.json"
        ended = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        text = json.dumps({"finished": True, "ended": ended, **(summary or {})}, indent=2, allow_nan=True)
        atomic.write_text(path, text + "\n")
        return path

    def close(self) -> None:
        """Lets go of the folder."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def config_differences(
    old_yaml: str, new_yaml: str, harmless: Callable[[str], bool] = HARMLESS_KEYS.__contains__
) -> list[Difference]:
    """Dotted keys whose values differ between two configs, except those for which `harmless` is true; sorted."""
    old, new = (_flatten(yaml.safe_load(text) or {}) for text in (old_yaml, new_yaml))
    missing = object()
    keys = sorted(old.keys() | new.keys())
    return [
        (key, old.get(key), new.get(key))
        for key in keys
        if old.get(key, missing) != new.get(key, missing) and not harmless(key)
    ]


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists and empty mappings are values."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _numbered(base: Path, number: int) -> Path:
    return base if number == 1 else base.with_name(f"{base.name}_{number}")


def _newest_number(base: Path) -> int:
    """The highest n such that all of base, base_2, ..., base_n exist; 1 where there is none."""
    number = 1
    while _numbered(base, number + 1).exists() and _numbered(base, number).exists():
        number += 1
    return number


def _state(folder: Path) -> str:
    """free (nothing there), unfinished, finished, or other (files that are not a run of ours)."""
    try:
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise atomic.disk_error(folder, error, "read") from error
    if "config.yaml" in names:
        try:
            finished = bool(json.loads(_read(folder / "summary.json"))["finished"])
        except (OSError, ValueError, KeyError, TypeError):
            finished = False
        return "finished" if finished else "unfinished"
    return "other" if any(not name.startswith(".") for name in names) else "free"


def _has_rows(metrics: Path) -> bool:
    return metrics.is_file() and metrics.stat().st_size > 0


def _take(folder: Path) -> FolderLock:
    """Makes and locks the folder, and proves with a small file that it can be written: now, not at the first save."""
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
def _released_on_error(lock: FolderLock):
    try:
        yield
    except BaseException:
        lock.release()
        raise


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _show(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, default=str)
