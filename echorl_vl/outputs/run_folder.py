"""One folder a run: what is in it, where the next run goes, and when an unfinished one goes on.

    config.yaml         the resolved config              rollouts/step_000012.parquet    what the policy wrote
    environment.json    versions, seed, command line     validation/step_000012.parquet  the same of the validation
    metrics.jsonl       one row a step                   plots/*.png
    tensorboard/        where asked for                  global_step_N/                  checkpoints
    summary.json        written when the run ends

Again and again the same command is safe: a finished run is never touched (the next one goes to `<path>_2`), an
unfinished one goes on from its newest good checkpoint, and two processes never write one folder. A run, finished or
not, goes on to another number of steps where that changes nothing in the steps that it has done.
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
    """A run folder that this process owns, made by `RunFolder.open`.

    path: the folder. checkpoint: the checkpoint to go on from, None for a run that starts at step 0.
    resumed: whether an earlier run goes on (from `checkpoint`, or from step 0 where it had none yet).
    trained: all its steps are done and saved: only what comes after them is left.
    notes: lines for the user about the choice of the folder. run_id: a random name that a resumed run keeps.
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
        """Finds or makes the folder of this run, takes its lock and writes config.yaml into a new one.

        Args:
            path: where the run should go (`trainer.save_checkpoint_path`).
            config_yaml: the resolved config.
            resume: go on with an unfinished run (`trainer.find_last_checkpoint`).
            find_checkpoint: gives the newest good checkpoint of a folder or None, e.g. `recover_last_checkpoint`.
            has_state: whether training can go on from such a checkpoint, which else is of the model alone.
            tied_to_length: the setting by which the steps of this run depend on how many there are in all, so that
                their number can't be changed on the way; None where none does.

        Raises:
            UserError: the folder can't be read or written, another process writes it, its config is damaged, or it
                holds an unfinished run with another config.
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
        """`open`, as a configuration says."""
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

    def check_there(self) -> None:
        """Raises UserError if the folder was moved or removed: what is written now would make another one."""
        try:
            os.stat(self.path / "config.yaml")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{self.path} is gone (it has no config.yaml): it was moved or removed while its run was writing it. "
                "The run stops here; once the folder is back, the same command goes on from its newest checkpoint."
            ) from None
        except OSError:
            pass  # a disk that doesn't answer: what is to be written will say so

    def rollouts_file(self, step: int) -> Path:
        """Where the rollouts of a training step go. Raises UserError if the folder is gone."""
        self.check_there()
        return self.path / "rollouts" / f"step_{step:06d}.parquet"

    def validation_file(self, step: int) -> Path:
        """Where the validation rollouts after `step` steps go. Raises UserError if the folder is gone."""
        self.check_there()
        return self.path / "validation" / f"step_{step:06d}.parquet"

    def write_environment(self, device: str, seed: int) -> list[str]:
        """Writes environment.json; a resumed run adds what it runs in now under "resumed".

        Returns:
            notes for the user: what differs from before and may change the last digits, or a file that was damaged.
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
                notes.append(f"{path} was damaged: it is written anew, and what the run ran in before is lost")
        atomic.write_text(path, json.dumps(now, indent=2) + "\n")
        return notes

    def mark_trained(self) -> None:
        """Notes that all steps are done and saved: if the run is killed from here on, it only has to be ended."""
        self.check_there()
        atomic.write_text(self.path / TRAINED, "")

    def finish(self, summary: dict[str, Any] | None = None) -> Path:
        """Marks the run as finished: summary.json with "finished": true beside what `summary` holds."""
        path = self.path / "summary.json"
        ended = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        text = json.dumps({"finished": True, "ended": ended, **(summary or {})}, indent=2, allow_nan=True)
        atomic.write_text(path, text + "\n")
        (self.path / TRAINED).unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Lets go of the folder."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_) -> None:
        self.close()


@dataclass(frozen=True)
class _Opening:
    """What `RunFolder.open` was asked for. Why a run can't go into a folder is a string, the end of "<folder> ..."."""

    config_yaml: str
    resume: bool
    find_checkpoint: Callable[[Path], Path | None]
    has_state: Callable[[Path], bool]
    tied_to_length: str | None

    def enter(self, folder: Path) -> RunFolder | str:
        """The run in `folder`, locked; or why it has to go elsewhere."""
        state = state_of(folder)
        if state == "other" or (state == "finished" and not self._other_length(folder)):
            return self._occupied(folder, state)
        try:
            lock = take(folder)
        except FolderInUse:
            if self.resume:
                raise
            return "is being written by another process"
        with released_on_error(lock):
            found = self._settle(folder, lock, state_of(folder))  # another process may have been quicker: look again
        if not isinstance(found, RunFolder):
            lock.release()
        return found

    def _settle(self, folder: Path, lock: FolderLock, state: str) -> RunFolder | str:
        if state == "free":
            return self._new(folder, lock)
        if state == "other" or (state == "finished" and not self._other_length(folder)):
            return self._occupied(folder, state)
        if not self.resume:
            return "holds an unfinished run, which stays as it is (trainer.find_last_checkpoint=false)"
        check_kinds(folder)
        checkpoint = self.find_checkpoint(folder)
        if state == "finished":
            if fault := self._fault(self._differences(folder), checkpoint):
                return f"holds a finished run of another length, which stays as it is ({fault})"
            return self._to_another_end(folder, lock, checkpoint)
        if checkpoint is None and not has_rows(folder / "metrics.jsonl") and not self._is_same(folder):
            # A start that failed, on a mistake in its data, say: there is nothing to lose.
            return self._new(folder, lock)
        if not (differences := self._differences(folder)):
            return self._resumed(folder, lock, checkpoint)
        if checkpoint is None:
            return "holds a run with another config that had saved nothing yet, and stays as it is"
        fault = self._fault(differences, checkpoint)
        if fault is None:
            return self._to_another_end(folder, lock, checkpoint)
        raise UserError(
            f"{folder} holds an unfinished run with another config, so it can't go on{fault and f' ({fault})'}:\n"
            f"{show_differences(differences)}\n"
            "Put these values back to go on with it, give this run another name with "
            "trainer.experiment_name=..., or start beside it with trainer.find_last_checkpoint=false; with "
            "trainer.load_checkpoint_path=.../global_step_N as well, it starts from that checkpoint."
        )

    def _occupied(self, folder: Path, state: str) -> str:
        if state == "finished":
            try:
                read_config(folder / "config.yaml")
            except UserError as error:
                return f"holds a finished run, which stays as it is: {error}"
            return "holds a finished run"
        saved = any(folder.glob("global_step_*"))
        return "holds checkpoints, but no config.yaml that says of which run" if saved else "holds other files"

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
                f"{folder} holds checkpoints that no run can go on from (of the model alone, or cut short): it starts "
                "again from step 0"
            )
        elif checkpoint is None:
            run.notes.append(f"{folder} holds a run that had saved nothing yet: it starts again from step 0")
        else:
            run.notes.append(f"{folder} holds an unfinished run: going on from {checkpoint.name}")
        if note := splitting_note(read_config(folder / "config.yaml"), self.config_yaml):
            run.notes.append(note)
        return run

    def _to_another_end(self, folder: Path, lock: FolderLock, checkpoint: Path) -> RunFolder:
        # In this order: a kill in between leaves an unfinished run of another length, which goes on as well.
        for name in ("summary.json", TRAINED):
            (folder / name).unlink(missing_ok=True)
        atomic.write_text(folder / "config.yaml", self.config_yaml)
        run = self._earlier(folder, lock, checkpoint)
        run.notes.append(f"{folder} holds a run of another length: going on from {checkpoint.name} to the new end")
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
        """Whether the run in `folder` is this one but for its number of steps."""
        try:
            return self.resume and only_length_differs(self._differences(folder))
        except UserError:  # damaged: a finished run is left as it is, and `_occupied` says why
            return False

    def _fault(self, differences: list[Difference], checkpoint: Path | None) -> str | None:
        """Why the run can't go on under this config; "" where the config itself says enough; None if it can."""
        if not only_length_differs(differences):
            return ""
        if checkpoint is None or not self.has_state(checkpoint):
            return "its last checkpoint holds the model alone: trainer.save_model_only"
        if self.tied_to_length is not None:
            return f"{self.tied_to_length} ties its steps to how many there are in all"
        return length_fault(differences, int(checkpoint.name.rpartition("_")[2]))
