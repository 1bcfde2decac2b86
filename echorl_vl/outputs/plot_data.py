"""Reads a run for its plots and its summary: metrics as columns, and means over the first and the last steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from echorl_vl.core import metric_names as names
from echorl_vl.outputs.tracker import read_metrics
from echorl_vl.shares import known_error

EDGE = 5  # "first" and "last" are means over this many training steps
VAL_ACCURACY = ("val/accuracy", "val/accuracy_reward", "val/reward/accuracy")
VAL_STDERR = ("val/accuracy_stderr", "val/accuracy_se")
VAL_PROBLEMS = ("val/problems", "val/samples")
POLICY_GRAD = ("actor/policy_grad_norm", "actor/pg_grad_norm")
ECHO_GRAD = ("echo/grad_norm", "actor/echo_grad_norm")
OF_CLIPS = (names.ECHO_CLIP_TOKENS, names.ECHO_CLIP_SHARE, names.ECHO_CLIP_STEP_ENTROPY)
NOT_TRAINED = ("val/", "timing_s/", "time")  # also in the row of a validation without a training step
HINT_TOKENS = "hint/tokens"
TIMING = "timing_s/"
TIMING_TOTALS = ("step", "total")
PHASE_NAMES = {"gen": "rollouts", "update_actor": "update", "adv": "advantages", "ref": "reference", "echo": "mining"}


@dataclass(frozen=True)
class RunData:
    """Metrics of one run.

    steps: (R,) int. columns: metric -> (R,) float64, NaN where a step has no value.
    echo: the `echo:` block of its configuration, {} if that can't be read.
    """

    path: Path
    name: str
    steps: np.ndarray
    columns: dict[str, np.ndarray]
    echo: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> RunData:
        """Reads the metrics.jsonl of a run folder. Raises UserError where there is none."""
        path = Path(path)
        return cls.of(read_metrics(path), path, read_echo(path))

    @classmethod
    def of(cls, rows: list[dict[str, Any]], path: Path = Path("run"), echo: dict[str, Any] | None = None) -> RunData:
        """Makes columns of the rows of `read_metrics`.

        A mean over the clips of a step without a clip is NaN. With `echo.normalize_by: clips` that includes
        `echo/loss`; as a mean over prompts it is 0 in such a step.
        """
        echo = echo or {}
        known = {name for row in rows for name in row} - {"step"}
        columns = {name: np.array([_number(row.get(name)) for row in rows]) for name in sorted(known)}
        if names.ECHO_CLIPS in columns:
            for name in (*OF_CLIPS, names.ECHO_LOSS) if over_clips(echo) else OF_CLIPS:
                if name in columns:
                    columns[name] = np.where(columns[names.ECHO_CLIPS] > 0, columns[name], np.nan)
        steps = np.array([row["step"] for row in rows], dtype=int)
        return cls(path, Path(path).absolute().name, steps, columns, echo)

    def get(self, *names: str) -> np.ndarray:
        """(R,) the first of these columns that has a value; all NaN if none has one."""
        for name in names:
            if name in self.columns and np.isfinite(self.columns[name]).any():
                return self.columns[name]
        return np.full(len(self.steps), np.nan)

    def has(self, *names: str) -> bool:
        return bool(np.isfinite(self.get(*names)).any())

    def has_clips(self) -> bool:
        """Whether a clip was mined in any step."""
        return bool((np.nan_to_num(self.get(names.ECHO_CLIPS)) > 0).any())

    def clipless(self) -> int:
        """The number of steps with the echo term but without a clip."""
        return int((self.get(names.ECHO_CLIPS) == 0).sum())

    def trained(self) -> np.ndarray:
        """(R,) bool: rows of training steps, not of a validation without one."""
        known = [np.isfinite(values) for name, values in self.columns.items() if not name.startswith(NOT_TRAINED)]
        return np.logical_or.reduce(known) if known else np.zeros(len(self.steps), bool)

    def totals(self) -> dict[str, float]:
        """The sum of each metric over the steps that have it."""
        return {name: float(np.nansum(values)) for name, values in self.columns.items() if np.isfinite(values).any()}

    def phases(self) -> dict[str, np.ndarray]:
        """Phase -> (R,) seconds in each step, the longest phase first; the totals are left out."""
        names = [name for name in self.columns if name.startswith(TIMING)]
        phases = {name.removeprefix(TIMING): np.nan_to_num(self.columns[name]) for name in names}
        phases = {
            PHASE_NAMES.get(name, name.replace("_", " ")): values
            for name, values in phases.items()
            if name not in TIMING_TOTALS and values.any()
        }
        return dict(sorted(phases.items(), key=lambda item: -item[1].sum()))

    def validations(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps, accuracies and standard errors of the validations, (V,) each.

        An error that was not logged is sqrt(p (1 - p) / problems), or Wilson's where that is 0; 0 if it is unknown.
        """
        accuracy, error, problems = self.get(*VAL_ACCURACY), self.get(*VAL_STDERR), self.get(*VAL_PROBLEMS)
        known = np.isfinite(accuracy)
        with np.errstate(divide="ignore", invalid="ignore"):
            binomial = np.sqrt(np.clip(accuracy * (1 - accuracy), 0, None) / problems)
        triples = zip(np.where(np.isfinite(error), error, binomial), accuracy, problems, strict=True)
        error = np.array([known_error(*triple) if triple[2] > 0 else triple[0] for triple in triples])
        return self.steps[known], accuracy[known], np.nan_to_num(error[known])


def over_clips(echo: dict[str, Any]) -> bool:
    """Whether the echo loss under this `echo:` block is a mean over clips."""
    return echo.get("normalize_by") == "clips"


def read_echo(run: str | Path) -> dict[str, Any]:
    """The `echo:` block of a run's config.yaml; {} if it can't be read."""
    try:
        config = yaml.safe_load((Path(run) / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    echo = config.get("echo") if isinstance(config, dict) else None
    return echo if isinstance(echo, dict) else {}


def ends(values: np.ndarray, edge: int = EDGE) -> tuple[float, float, int]:
    """Means over the first and the last known values.

    This defines "first" and "last" in tables and in the titles of plots. Steps without a value are skipped, and
    `edge_label` says so.

    Returns:
        (mean of the first, mean of the last, number of values in each): `edge` values, or half of them if there are
        fewer than 2 `edge`.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan, 0
    count = max(1, min(edge, len(known) // 2))
    return float(known[:count].mean()), float(known[-count:].mean()), count


def edge_label(run: RunData, values: np.ndarray, last_only: bool = False, missing: str = "a value") -> str:
    """Names the steps of `ends(values)`: "first 5 steps / last 5 steps".

    If training steps were skipped it says so: "last 3 steps with a clip (steps 5 to 9)".

    Args:
        run: the run that `values`, (R,), is a column of.
        last_only: whether only the mean over the last steps is meant.
        missing: what the skipped steps lack.
    """
    known = np.isfinite(values)
    *_, count = ends(values)
    steps = "step" if count == 1 else f"{count} steps"
    label = f"last {steps}" if last_only else f"first {steps} / last {steps}"
    if not has_gaps(run, values) or not count:
        return label
    shown = run.steps[known][-count:] if last_only else run.steps[known]
    low, high = shown.min(), shown.max()
    label = f"only step with {missing}" if known.sum() == 1 else f"{label} with {missing}"
    return f"{label} (step {low})" if low == high else f"{label} (steps {low} to {high})"


def change_title(
    run: RunData,
    name: str,
    values: np.ndarray,
    form: Callable[[float], str],
    unit: str = "",
    missing: str = "a value",
) -> tuple[str, str]:
    """Says in a title how a metric changed: "Echo loss went from 0.15 to 0.04 nats", "Clip fraction stayed at 0 %".

    Args:
        run: the run that `values`, (R,), is a column of.
        name: of the metric, which begins the title.
        values: NaN where a step has no value.
        form: how a value is written.
        unit: follows the last number.
        missing: what a step without a value lacks.

    Returns:
        (title, a note for the subtitle on which steps the title is about, with a leading "; ").
    """
    first, last, count = ends(values)
    unit = f" {unit}" if unit else ""
    if not count:
        return f"{name}: not recorded", ""
    note = f"; title: {edge_label(run, values, missing=missing)}"
    known = values[np.isfinite(values)]
    if len(known) == 1:
        return f"{name}: {form(last)}{unit}", note if has_gaps(run, values) else ""
    if len({form(value) for value in known}) == 1:
        steps = run.steps[np.isfinite(values)]
        note = f"; title: all {len(known)} steps with {missing} (steps {steps.min()} to {steps.max()})"
        return f"{name} stayed at {form(last)}{unit}", note if has_gaps(run, values) else ""
    if form(first) == form(last):
        note += f"; lowest {form(known.min())}, highest {form(known.max())}{unit}"
        return f"{name} began and ended at {form(last)}{unit}", note
    return f"{name} went from {form(first)} to {form(last)}{unit}", note


def has_gaps(run: RunData, values: np.ndarray) -> bool:
    """Whether a training step has no value."""
    return bool((run.trained() & ~np.isfinite(values)).any())


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # a whole number that no float holds
        return math.nan
