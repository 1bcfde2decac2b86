"""Metrics of a run: metrics.jsonl always, TensorBoard, wandb and swanlab where `trainer.logger` asks for them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic
from echorl_vl.outputs.accounts import check_account
from echorl_vl.outputs.run_folder import RunFolder

# console is what `Display` shows; file is metrics.jsonl, which is written whether asked for or not.
LOGGERS = ("console", "file", "tensorboard", "wandb", "swanlab")


_INSTALL = {
    "tensorboard": "pip install tensorboard",
    "wandb": "pip install 'echorl-vl[wandb]'",
    "swanlab": "pip install 'echorl-vl[swanlab]'",
    "mlflow": "pip install mlflow",  # EasyR1's logger
}


class Tracker:
    """Writes one row of metrics a step. A context manager; `close` ends the services.

    Args:
        run: the run folder. Rows of metrics.jsonl after `run.resume_step` are cut: those steps are done again, and the
            file ends up as that of a run that was never stopped.
        loggers: names out of `LOGGERS`.
        project, experiment: names for wandb and swanlab.
        config: the resolved config, for wandb and swanlab.

    Raises:
        UserError: an unknown name, a service that isn't installed, or a folder that can't be written.
    """

    def __init__(
        self,
        run: RunFolder,
        loggers: Sequence[str] = ("console", "file"),
        project: str = "echorl",
        experiment: str = "run",
        config: Mapping[str, Any] | None = None,
    ):
        loggers = [loggers] if isinstance(loggers, str) else list(loggers)
        for name in loggers:
            if name not in LOGGERS:
                raise UserError(f"trainer.logger: unknown logger {name!r}; the known ones are {', '.join(LOGGERS)}")
        self._path = run.metrics_file
        cut_after(self._path, run.resume_step if run.resumed else None)
        try:
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise atomic.disk_error(self._path, error) from error
        rows = read_metrics(self._path)
        self._last: dict[str, Any] | None = rows[-1] if rows else None
        self._services = []
        if "tensorboard" in loggers:
            self._services.append(_TensorBoard(run))
        if "wandb" in loggers:
            self._services.append(_Wandb(run, project, experiment, config))
        if "swanlab" in loggers:
            self._services.append(_SwanLab(run, project, experiment, config))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of one step; they are on the disk when it returns.

        A second call for the same step adds to its row. NaN and infinity become null in metrics.jsonl (JSON has
        neither) and are left out elsewhere.

        Raises:
            ValueError: `step` is before the last one.
            UserError: the disk is full (the rows so far are whole), or the file is gone.
        """
        values = {name: _plain(value) for name, value in metrics.items()}
        if not self._path.exists():
            raise UserError(
                f"{self._path} is gone: it, or the folder of the run, was moved or removed while the run was writing "
                "it. The run stops here; once it is back, the same command goes on from the newest checkpoint."
            )
        if self._last is not None and step < self._last["step"]:
            raise ValueError(f"metrics of step {step} come after those of step {self._last['step']}")
        if self._last is not None and step == self._last["step"]:
            row = {**self._last, **values}
            self._rewrite_last(row)
        else:
            row = {"step": step, "time": round(time.time(), 3), **values}
            self._append(row)
        self._last = row
        finite = {name: value for name, value in values.items() if value is not None}
        for service in self._services:
            service.log(step, finite)

    def close(self) -> None:
        """Ends the services and closes the file."""
        self._file.close()
        for service in self._services:
            service.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _append(self, row: dict[str, Any]) -> None:
        size = os.fstat(self._file.fileno()).st_size
        try:
            line = (json.dumps(row, allow_nan=False) + "\n").encode()
            while line:
                line = line[self._file.write(line) :]  # an unbuffered write may take only a part
            os.fsync(self._file.fileno())
        except OSError as error:
            failure = atomic.disk_error(self._path, error)
            os.ftruncate(self._file.fileno(), size)
            raise failure from error

    def _rewrite_last(self, row: dict[str, Any]) -> None:
        rows = [*read_metrics(self._path)[:-1], row]
        self._file.close()
        _write_rows(self._path, rows)
        self._file = self._path.open("ab", buffering=0)


def check_loggers(loggers: Sequence[str]) -> None:
    """Raises UserError, before a model is loaded, for a service that is not installed or has no account."""
    for name in loggers:
        if name in _INSTALL and importlib.util.find_spec(name) is None:
            raise _not_installed(name)
        check_account(name)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl (or of the run folder that holds it), in the order of their steps; null stays None.

    A last line that a killed run left half-written is passed over. Raises UserError, with the line number, for a line
    in the middle that is no row, and for a missing file.
    """
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. Is this the folder of a run?") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            row["step"] = _step(row["step"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if number == len(lines):
                break
            raise UserError(
                f'{path}, line {number}: not a row of metrics (expected an object with "step", a whole number from 0). '
                "The file was damaged: remove that line to go on without it"
            ) from error
        rows.append(row)
    return rows


def _step(value: Any) -> int:
    """A training step as it stands in a row. Raises ValueError or TypeError for what is none."""
    if isinstance(value, bool) or not 0 <= value < 2**53 or value != int(value):  # NaN and infinity are in no range
        raise ValueError(f"no step: {value!r}")
    return int(value)


def lost_rows(run: RunFolder) -> str | None:
    """What to say where metrics.jsonl lacks rows of steps before the checkpoint that `run` goes on from; else None."""
    if not run.resume_step:
        return None
    path = run.metrics_file
    steps = {row["step"] for row in read_metrics(path)} if path.exists() else set()
    first = min((step for step in steps if step > 0), default=1)
    missing = [step for step in range(first, run.resume_step + 1) if step not in steps]
    if not missing:
        return None
    what = "is missing" if not path.exists() else f"lacks {len(missing)} rows from step {missing[0]} on"
    return f"{path} {what}: they were removed or never reached the disk, and summary and plots go without them"


def cut_after(path: Path, step: int | None) -> None:
    """Rewrites metrics.jsonl without the rows after `step` (None: none is cut) and without a half-written last line."""
    if not path.exists():
        return
    rows = read_metrics(path)
    kept = [row for row in rows if step is None or row["step"] <= step]
    text = path.read_bytes()
    if len(kept) != len(rows) or text.count(b"\n") != len(kept) or (text and not text.endswith(b"\n")):
        _write_rows(path, kept)


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    atomic.write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def _plain(value: Any) -> float | int | None:
    """A Python number from a Python, numpy or 0-d torch one; None for NaN and infinity."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return int(value) if isinstance(value, bool) else value


class _TensorBoard:
    def __init__(self, run: RunFolder):
        _optional("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        # Steps that were written after the checkpoint and are done again replace their first version.
        purge_step = run.resume_step + 1 if run.resumed else None
        self._writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=purge_step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, run: RunFolder, project: str, experiment: str, config: Mapping[str, Any] | None):
        self._wandb = _optional("wandb")
        self._wandb.init(
            project=project,
            name=experiment,
            config=dict(config or {}),
            dir=str(run.path),
            id=run.run_id,
            resume="allow",
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._wandb.log(dict(metrics), step=step)

    def close(self) -> None:
        self._wandb.finish()


class _SwanLab:
    def __init__(self, run: RunFolder, project: str, experiment: str, config: Mapping[str, Any] | None):
        self._swanlab = _optional("swanlab")
        self._swanlab.init(
            project=project,
            experiment_name=experiment,
            config=dict(config or {}),
            logdir=str(run.path / "swanlog"),
            mode=os.getenv("SWANLAB_MODE", "cloud"),
            id=run.run_id.ljust(21, "0"),  # swanlab wants 21 characters
            resume="allow",
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._swanlab.log(dict(metrics), step=step)

    def close(self) -> None:
        self._swanlab.finish()


def _optional(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _not_installed(name) from error


def _not_installed(name: str) -> UserError:
    return UserError(
        f"trainer.logger asks for {name}, which is not installed: {_INSTALL[name]}, or leave it out of trainer.logger"
    )
