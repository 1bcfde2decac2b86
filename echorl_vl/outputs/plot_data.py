"""What the plots and the final table read from a run: metrics as columns, and the numbers of start and end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from echorl_vl.outputs.tracker import read_metrics

VAL_ACCURACY = ("val/accuracy", "val/accuracy_reward", "val/reward/accuracy")
VAL_STDERR = ("val/accuracy_stderr", "val/accuracy_se")
VAL_PROBLEMS = ("val/problems", "val/samples")
POLICY_GRAD = ("actor/policy_grad_norm", "actor/pg_grad_norm")
ECHO_GRAD = ("echo/grad_norm", "actor/echo_grad_norm")
TIMING = "timing_s/"
TIMING_TOTALS = ("step", "total")
PHASE_NAMES = {"gen": "rollouts", "update_actor": "update", "adv": "advantages", "ref": "reference", "echo": "mining"}


@dataclass(frozen=True)
class RunData:
    """Metrics of one run. steps: (R,) int; columns: name -> (R,) float64, NaN where a step has no value."""

    path: Path
    name: str
    steps: np.ndarray
    columns: dict[str, np.ndarray]

    @classmethod
    def read(cls, path: str | Path) -> RunData:
        """Reads the metrics.jsonl of a run folder. Raises UserError where there is none."""
        path = Path(path)
        return cls.of(read_metrics(path), path)

    @classmethod
    def of(cls, rows: list[dict[str, Any]], path: Path = Path("run")) -> RunData:
        """From rows as `read_metrics` gives them."""
        names = {name for row in rows for name in row} - {"step"}
        columns = {name: np.array([_number(row.get(name)) for row in rows]) for name in sorted(names)}
        return cls(path, Path(path).absolute().name, np.array([row["step"] for row in rows], dtype=int), columns)

    def get(self, *names: str) -> np.ndarray:
        """The first of the columns that has a value; all NaN if none has."""
        for name in names:
            if name in self.columns and np.isfinite(self.columns[name]).any():
                return self.columns[name]
        return np.full(len(self.steps), np.nan)

    def has(self, *names: str) -> bool:
        return bool(np.isfinite(self.get(*names)).any())

    def phases(self) -> dict[str, np.ndarray]:
        """Phase -> seconds in each step, the longest phase first; without the totals."""
        names = [name for name in self.columns if name.startswith(TIMING)]
        phases = {name.removeprefix(TIMING): np.nan_to_num(self.columns[name]) for name in names}
        phases = {
            PHASE_NAMES.get(name, name.replace("_", " ")): values
            for name, values in phases.items()
            if name not in TIMING_TOTALS and values.any()
        }
        return dict(sorted(phases.items(), key=lambda item: -item[1].sum()))

    def heldout(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """steps, accuracy and standard error of the validations (sqrt(p (1 - p) / problems) where none was logged)."""
        accuracy, error, problems = self.get(*VAL_ACCURACY), self.get(*VAL_STDERR), self.get(*VAL_PROBLEMS)
        known = np.isfinite(accuracy)
        with np.errstate(divide="ignore", invalid="ignore"):
            binomial = np.sqrt(np.clip(accuracy * (1 - accuracy), 0, None) / problems)
        error = np.where(np.isfinite(error), error, binomial)
        return self.steps[known], accuracy[known], np.nan_to_num(error[known])


def ends(values: np.ndarray, share: float = 0.1) -> tuple[float, float, int]:
    """Mean over the first and the last tenth of the known values (at least 1, at most 10 steps), and that number."""
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan, 0
    count = min(max(1, round(len(known) * share)), 10)
    return float(known[:count].mean()), float(known[-count:].mean()), count


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
