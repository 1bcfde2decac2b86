"""One folder a run: its files, the folder of the next run, and when an unfinished run is resumed.

    config.yaml         the resolved config              rollouts/step_000012.parquet    sampled rollouts
    environment.json    versions, seed, command line     validation/step_000012.parquet  those of the validation
    metrics.jsonl       one row a step                   plots/*.png
    tensorboard/        if trainer.logger lists it       global_step_N/                  checkpoints
    summary.json        written when the run ends

It is safe to repeat a command: a finished run is never changed (the next one goes to `<path>_2`), an unfinished one
resumes from its newest good checkpoint, and two processes never write one folder. A run, finished or not, can be
resumed with another number of steps if that doesn't affect the steps that are done.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echorl_vl.config import Config, to_yaml
from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic
from echorl_vl.outputs.environment import describe_environment, environment_note
from echorl_vl.outputs.folders import (
    FOLDERS,
    TRAINED,
    check_kinds,
    has_rows,
    newest_number,
    numbered,
    read_text,
    released_on_error,
    state_of,
    take,
)
from echorl_vl.outputs.lock import FolderInUse, FolderLock
from echorl_vl.outputs.same_run import (
    Difference,
    config_differences,
    length_fault,
    only_length_differs,
    read_config,
    show_differences,
    splitting_note,
)
from echorl_vl.start_notes import tied_to_length


class RunFolder:
    """A run folder that this process owns; `RunFolder.open` creates it.

    path: the folder.
    checkpoint: the checkpoint that the run resumes from; None for a run that starts at step 0.
    resumed: whether an earlier run is resumed (from `checkpoint`, or from step 0 if it had saved none).
    trained: whether all steps are done and saved, so that only summary and plots are left.
    notes: messages for the user about the choice of the folder.
    run_id: a random name, which a resumed run keeps.
    """

    def __init__(self, path: Path, lock: FolderLock | None, checkpoint: Path | None, resumed: bool, notes: list[str]):
        self.path = path
        self.checkpoint = checkpoint
        self.resumed = resumed
        self.trained = False
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
        has_state: Callable[[Path], bool] = lambda checkpoint: True,
        tied_to_length: str | None = None,
    ) -> RunFolder:
        """Finds or creates the folder of this run, locks it and writes config.yaml into a new one.

        Args:
            path: the folder that was asked for (`trainer.save_checkpoint_path`).
            config_yaml: the resolved configuration.
            resume: whether to resume an unfinished run (`trainer.find_last_checkpoint`).
            find_checkpoint: returns the newest good checkpoint of a folder or None, as `recover_last_checkpoint` does.
            has_state: whether a checkpoint has the optimizer state that training needs, or only the model.
            tied_to_length: the setting that makes the steps of this run depend on their total number, which then
                can't be changed; None without such a setting.

        Raises:
            UserError: the folder can't be read or written, another process uses it, its config is damaged, or it has
                an unfinished run with another config.
        """
        base = Path(path).absolute()
        opening = _Opening(config_yaml, resume, find_checkpoint, has_state, tied_to_length)
        notes: list[str] = []
        try:
            number = newest_number(base)
        except OSError as error:
            raise atomic.disk_error(base, error, "read") from error
        while True:
            folder = numbered(base, number)
            found = opening.enter(folder)
            if isinstance(found, RunFolder):
                found.notes[:0] = notes
                return found
            number += 1
            notes.append(f"{folder} {found}; this run goes to {numbered(base, number)}")

    @classmethod
    def open_for(
        cls,
        config: Config,
        find_checkpoint: Callable[[Path], Path | None],
        has_state: Callable[[Path], bool] = lambda checkpoint: True,
    ) -> RunFolder:
        """`open` with the settings of a configuration."""
        return cls.open(
            config.trainer.output_folder,
            to_yaml(config),
            config.trainer.find_last_checkpoint,
            find_checkpoint=find_checkpoint,
            has_state=has_state,
            tied_to_length=tied_to_length(config),
        )

    @classmethod
    def attach(cls, path: Path, resume_step: int | None = None) -> RunFolder:
        """The folder for another process of the same run, without a lock.

        Args:
            path: the folder.
            resume_step: the step that the run resumed from; None for a new run.
        """
        checkpoint = path / f"global_step_{resume_step}" if resume_step else None
        return cls(path, None, checkpoint, resume_step is not None, [])

    @property
    def resume_step(self) -> int:
        """Steps that are done: the number in the checkpoint's name; 0 without a checkpoint."""
        return int(self.checkpoint.name.rpartition("_")[2]) if self.checkpoint else 0

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def check_there(self) -> None:
        """Raises UserError if the folder was moved or removed: a write would create a new one."""
        try:
            os.stat(self.path / "config.yaml")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{self.path} is gone (it has no config.yaml): it was moved or removed during the run. The run stops "
                "here; once the folder is back, the same command resumes from its newest checkpoint."
            ) from None
        except OSError:
            pass  # a disk that doesn't answer: the write will report it

    def rollouts_file(self, step: int) -> Path:
        """The file for the rollouts of a training step. Raises UserError if the folder is gone."""
        self.check_there()
        return self.path / "rollouts" / f"step_{step:06d}.parquet"

    def validation_file(self, step: int) -> Path:
        """The file for the validation rollouts after `step` steps. Raises UserError if the folder is gone."""
        self.check_there()
        return self.path / "validation" / f"step_{step:06d}.parquet"

    def write_environment(self, device: str, seed: int) -> list[str]:
        """Writes environment.json; a resumed run adds its environment under "resumed".

        Returns:
            Notes for the user: changes since the last start that may change the last digits, or a damaged file.
        """
        path, notes = self.path / "environment.json", []
        now = {"run_id": self.run_id, **describe_environment(device, seed)}
        if self.resumed and path.exists():
            try:
                first = json.loads(read_text(path))
                pieces = first.setdefault("resumed", [])
                if note := environment_note(pieces[-1] if pieces else first, now):
                    notes.append(note)
                pieces.append({"from_step": self.resume_step, **now})
                now = first
            except (OSError, ValueError, AttributeError, TypeError, KeyError):
                notes.append(f"{path} was damaged and is written anew: the environment of the earlier steps is lost")
        atomic.write_text(path, json.dumps(now, indent=2) + "\n")
        return notes

    def mark_trained(self) -> None:
        """Records that all steps are done and saved: a run that is killed from here on trains no more."""
        self.check_there()
        atomic.write_text(self.path / TRAINED, "")

    def finish(self, summary: dict[str, Any] | None = None) -> Path:
        """Marks the run as finished: writes summary.json with "finished": true and the entries of `summary`."""
        path = self.path / "summary.json"
        ended = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        text = json.dumps({"finished": True, "ended": ended, **(summary or {})}, indent=2, allow_nan=True)
        atomic.write_text(path, text + "\n")
        (self.path / TRAINED).unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Releases the folder."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_) -> None:
        self.close()


@dataclass(frozen=True)
class _Opening:
    """The arguments of `RunFolder.open`.

    A folder that a run can't use is described by a string that follows the folder's name: "holds a finished run".
    """

    config_yaml: str
    resume: bool
    find_checkpoint: Callable[[Path], Path | None]
    has_state: Callable[[Path], bool]
    tied_to_length: str | None

    def enter(self, folder: Path) -> RunFolder | str:
        """Locks `folder` and returns the run in it, or says why the run needs another folder."""
        state = state_of(folder)
        if state == "other" or (state == "finished" and not self._other_length(folder)):
            return self._occupied(folder, state)
        try:
            lock = take(folder)
        except FolderInUse:
            if self.resume:
                raise
            return "is in use by another process"
        with released_on_error(lock):
            found = self._settle(folder, lock, state_of(folder))  # again: another process may have been quicker
        if not isinstance(found, RunFolder):
            lock.release()
        return found

    def _settle(self, folder: Path, lock: FolderLock, state: str) -> RunFolder | str:
        if state == "free":
            return self._new(folder, lock)
        if state == "other" or (state == "finished" and not self._other_length(folder)):
            return self._occupied(folder, state)
        if not self.resume:
            return "holds an unfinished run, which is left unchanged (trainer.find_last_checkpoint=false)"
        check_kinds(folder)
        checkpoint = self.find_checkpoint(folder)
        if state == "finished":
            if fault := self._fault(self._differences(folder), checkpoint):
                return f"holds a finished run of another length, which is left unchanged ({fault})"
            return self._to_another_end(folder, lock, checkpoint)
        if checkpoint is None and not has_rows(folder / "metrics.jsonl") and not self._is_same(folder):
            # The start failed, on an error in the data for example: there is nothing to lose.
            return self._new(folder, lock)
        if not (differences := self._differences(folder)):
            return self._resumed(folder, lock, checkpoint)
        if checkpoint is None:
            return "holds a run with another config, without a checkpoint, which is left unchanged"
        fault = self._fault(differences, checkpoint)
        if fault is None:
            return self._to_another_end(folder, lock, checkpoint)
        raise UserError(
            f"{folder} holds an unfinished run with another config, so it can't be resumed{fault and f' ({fault})'}:\n"
            f"{show_differences(differences)}\n"
            "Restore these values to resume it, or start a new run in another folder: trainer.save_checkpoint_path=... "
            "names one, trainer.find_last_checkpoint=false takes the next free one; with "
            "trainer.load_checkpoint_path=.../global_step_N as well, the new run starts from that checkpoint."
        )

    def _occupied(self, folder: Path, state: str) -> str:
        if state == "finished":
            try:
                read_config(folder / "config.yaml")
            except UserError as error:
                return f"holds a finished run, which is left unchanged: {error}"
            return "holds a finished run"
        saved = any(folder.glob("global_step_*"))
        return "holds checkpoints, but no config.yaml of their run" if saved else "holds other files"

    def _new(self, folder: Path, lock: FolderLock) -> RunFolder:
        atomic.write_text(folder / "config.yaml", self.config_yaml)
        return RunFolder(folder, lock, None, False, [])

    def _resumed(self, folder: Path, lock: FolderLock, checkpoint: Path | None) -> RunFolder:
        run = self._earlier(folder, lock, checkpoint)
        run.trained = (folder / TRAINED).exists()
        if run.trained:
            run.notes.append(f"{folder} holds a run whose steps are all done: only its summary and plots are left")
        elif checkpoint is None and any(folder.glob("global_step_*")):
            run.notes.append(
                f"{folder} holds checkpoints that no run can resume from (damaged, or only the model): it starts "
                "again from step 0"
            )
        elif checkpoint is None:
            run.notes.append(f"{folder} holds a run without a checkpoint: it starts again from step 0")
        else:
            run.notes.append(f"{folder} holds an unfinished run: resuming from {checkpoint.name}")
        if note := splitting_note(read_config(folder / "config.yaml"), self.config_yaml):
            run.notes.append(note)
        return run

    def _to_another_end(self, folder: Path, lock: FolderLock, checkpoint: Path) -> RunFolder:
        # In this order: a kill in between leaves an unfinished run of another length, which can be resumed too.
        for name in ("summary.json", TRAINED):
            (folder / name).unlink(missing_ok=True)
        atomic.write_text(folder / "config.yaml", self.config_yaml)
        run = self._earlier(folder, lock, checkpoint)
        run.notes.append(f"{folder} holds a run of another length: resuming from {checkpoint.name} to the new end")
        return run

    def _earlier(self, folder: Path, lock: FolderLock, checkpoint: Path | None) -> RunFolder:
        run = RunFolder(folder, lock, checkpoint, True, [])
        for part in (folder, *(folder / name for name in FOLDERS)):
            atomic.remove_partials(part)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            run.run_id = str(json.loads(read_text(folder / "environment.json"))["run_id"])
        return run

    def _differences(self, folder: Path) -> list[Difference]:
        return config_differences(read_config(folder / "config.yaml"), self.config_yaml)

    def _is_same(self, folder: Path) -> bool:
        try:
            return not self._differences(folder)
        except UserError:  # damaged
            return False

    def _other_length(self, folder: Path) -> bool:
        """Whether the run in `folder` differs from this one only in its number of steps."""
        try:
            return self.resume and only_length_differs(self._differences(folder))
        except UserError:  # damaged: a finished run is left unchanged, and `_occupied` says why
            return False

    def _fault(self, differences: list[Difference], checkpoint: Path | None) -> str | None:
        """Why the run can't be resumed with this config; "" if the differences say enough; None if it can."""
        if not only_length_differs(differences):
            return ""
        if checkpoint is None or not self.has_state(checkpoint):
            return "its last checkpoint holds only the model: trainer.save_model_only"
        if self.tied_to_length is not None:
            return f"with {self.tied_to_length} its steps depend on their total number"
        return length_fault(differences, int(checkpoint.name.rpartition("_")[2]))
