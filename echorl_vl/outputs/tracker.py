"""Metrics of a run: metrics.jsonl always; TensorBoard, wandb and swanlab if `trainer.logger` lists them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.outputs import atomic
from echorl_vl.outputs.accounts import check_account
from echorl_vl.outputs.alerts import AlertMonitor
from echorl_vl.outputs.run_folder import RunFolder

# console is `Display`; file is metrics.jsonl, which is always written.
LOGGERS = ("console", "file", "tensorboard", "wandb", "swanlab")


logger = logging.getLogger(__name__)

_INSTALL = {
    "tensorboard": "pip install tensorboard",
    "wandb": "pip install 'echorl-vl[wandb]'",
    "swanlab": "pip install 'echorl-vl[swanlab]'",
    "mlflow": "pip install mlflow",  # EasyR1's logger
}


class Tracker:
    """Writes one row of metrics a step. A context manager; `close` ends the services.

    Args:
        run: the run folder. Rows of metrics.jsonl after `run.resume_step` are removed, because these steps are done
            again: the file becomes that of a run that was never stopped.
        loggers: names from `LOGGERS`.
        project, experiment: names for wandb and swanlab.
        config: the resolved config, for wandb and swanlab.

    Raises:
        UserError: a name is unknown, a service is not installed, or the folder can't be written.
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
                raise UserError(f"trainer.logger: unknown logger {name!r}; known loggers: {', '.join(LOGGERS)}")
        self._path = run.metrics_file
        cut_after(self._path, run.resume_step if run.resumed else None)
        try:
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise atomic.disk_error(self._path, error) from error
        rows = read_metrics(self._path)
        self._last: dict[str, Any] | None = rows[-1] if rows else None
        self._alerts = AlertMonitor(rows)
        self._services = []
        if "tensorboard" in loggers:
            self._services.append(_TensorBoard(run))
        if "wandb" in loggers:
            self._services.append(_Wandb(run, project, experiment, config))
        if "swanlab" in loggers:
            self._services.append(_SwanLab(run, project, experiment, config))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of one step to the disk, and warns of what in them needs a look (`alerts`).

        A second call for the same step adds to its row. NaN and infinity become null in metrics.jsonl (JSON has
        neither) and are not sent to the services.

        Raises:
            ValueError: `step` is before the last one.
            UserError: the disk is full (earlier rows stay complete), or the file is gone.
        """
        values = {name: _plain(value) for name, value in metrics.items()}
        if not self._path.exists():
            raise UserError(
                f"{self._path} is gone: the file or the run folder was moved or removed during the run. The run stops "
                "here; once it is back, the same command resumes from the newest checkpoint."
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
        for alert in self._alerts.step(step, values):
            logger.warning("step %d: %s", step, alert.message)

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
                line = line[self._file.write(line) :]  # an unbuffered write may write only a part
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
    """Raises UserError, before a model is loaded, if a service is not installed or has no account."""
    for name in loggers:
        if name in _INSTALL and importlib.util.find_spec(name) is None:
            raise _not_installed(name)
        check_account(name)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Reads the rows of a metrics.jsonl, given its path or its run folder; null becomes None.

    An incomplete last line, as a killed run leaves it, is ignored.

    Raises:
        UserError: the file is missing, or another line is no row; names its number.
    """
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. Is this a run folder?") from error
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
                "The file is damaged: remove that line to continue without it"
            ) from error
        rows.append(row)
    return rows


def _step(value: Any) -> int:
    """Checks the training step of a row. Raises ValueError or TypeError if it is none."""
    if isinstance(value, bool) or not 0 <= value < 2**53 or value != int(value):  # NaN and infinity are in no range
        raise ValueError(f"no step: {value!r}")
    return int(value)


def lost_rows(run: RunFolder) -> str | None:
    """A note if metrics.jsonl lacks steps before the checkpoint that `run` resumes from; else None."""
    if not run.resume_step:
        return None
    path = run.metrics_file
    steps = {row["step"] for row in read_metrics(path)} if path.exists() else set()
    first = min((step for step in steps if step > 0), default=1)
    missing = [step for step in range(first, run.resume_step + 1) if step not in steps]
    if not missing:
        return None
    rows = "1 row" if len(missing) == 1 else f"{len(missing)} rows"
    what = f"lacks {rows} from step {missing[0]} on" if path.exists() else "is missing"
    return f"{path} {what}: they were removed or never reached the disk. Summary and plots are made without them"


def cut_after(path: Path, step: int | None) -> None:
    """Removes the rows after `step` (None: no row) and an incomplete last line from metrics.jsonl."""
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
    """A Python, numpy or 0-d torch number as a Python number; None for NaN and infinity."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return int(value) if isinstance(value, bool) else value


class _TensorBoard:
    def __init__(self, run: RunFolder):
        _optional("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        # Steps after the checkpoint are done again: they replace what was written before.
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
            id=run.run_id.ljust(21, "0"),  # swanlab expects 21 characters
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
        f"trainer.logger asks for {name}, which is not installed: {_INSTALL[name]}, or remove it from trainer.logger"
    )
