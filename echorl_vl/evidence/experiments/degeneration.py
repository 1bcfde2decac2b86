"""Advantage degeneration during training: groups and tokens with zero advantage, and the norm of the policy gradient.

For GRPO without EchoRL, measured at every step: the share of all-success groups, the share of response tokens with
advantage 0, and the gradient norm before clipping. The same with EchoRL, where the gradient of the echo term is
measured separately. Each quantity is compared between the first and the last tenth of the steps (at most ten).

The loss is a mean over tokens, and tokens with zero advantage contribute 0 to the sum. So the gradient norm divided by
the share of the other tokens is the norm of their mean gradient. It shows whether the gradient fades only because
fewer tokens contribute.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from echorl_vl.core import metric_names as names
from echorl_vl.evidence.experiment import Experiment, Results, Table
from echorl_vl.evidence.plots import banded, log_axis, share_axis
from echorl_vl.evidence.runs import Run, train_pair
from echorl_vl.evidence.setup import Setup
from echorl_vl.evidence.statistics import Contrast, interval, tenths
from echorl_vl.evidence.store import Store
from echorl_vl.outputs.plot_data import ECHO_GRAD, POLICY_GRAD, RunData
from echorl_vl.outputs.plot_style import (
    dress,
    panel_grid,
    save,
    smooth,
    step_axis,
    style,
    window_for,
)

COLUMNS = {
    "all_success": "all-success groups",
    "all_fail": "all-fail groups",
    "zero_advantage": "tokens with zero advantage",
    "policy_grad_norm": "norm of the policy gradient",
    "advantage_grad_norm": "the same, over tokens with non-zero advantage",
    "echo_grad_norm": "norm of the echo gradient",
    "echo_loss": "echo loss, nats per clip token, mean over prompts (0 without a clip)",
}
CLAIMED = {"all_success": "above", "zero_advantage": "above", "policy_grad_norm": "below"}


def runs(setup: Setup) -> list[Run]:
    return [run for seed in setup.seeds for run in train_pair(setup, seed).values()]


def analyse(setup: Setup, store: Store) -> Results:
    pairs = {seed: train_pair(setup, seed) for seed in setup.seeds}
    raw: dict[str, Any] = {}
    for arm in ("without", "with"):
        runs = [_columns(RunData.read(store.run_folder(pair[arm]))) for pair in pairs.values()]
        raw[arm] = {column: [run[column] for run in runs] for column in ("steps", *COLUMNS)}
    claims = [
        Contrast(f"{COLUMNS[column]}, last tenth minus first", _changes(raw["without"][column]), side, len(CLAIMED))
        for column, side in CLAIMED.items()
    ]
    late = {arm: [tenths(values)[1] for values in raw[arm]["all_success"]] for arm in raw}
    difference = tuple(with_echo - base for with_echo, base in zip(late["with"], late["without"], strict=True))
    others = [
        Contrast("all-success groups in the last tenth: EchoRL minus GRPO", difference),
        Contrast(
            f"{COLUMNS['policy_grad_norm']} over tokens with non-zero advantage, last tenth minus first",
            _changes(raw["without"]["advantage_grad_norm"]),
        ),
    ]
    rows = []
    for column, label in COLUMNS.items():
        known = {(arm, end): [tenths(values)[end] for values in raw[arm][column]] for arm in raw for end in (0, 1)}
        rows.append(
            (label, *(str(interval(values)) if np.isfinite(values).any() else "-" for values in known.values()))
        )
    columns = ("", "GRPO, first tenth", "GRPO, last tenth", "with EchoRL, first tenth", "with EchoRL, last tenth")
    return Results(claims, Table(columns, rows), raw, others)


def draw(raw: dict[str, Any], path: Path) -> None:
    """Draw three panels: all-success groups, tokens with zero advantage, gradient norms; smoothed per seed."""
    panels = (
        (
            "All-success groups",
            "share of groups",
            {"GRPO": ("without", "all_success"), "with EchoRL": ("with", "all_success")},
        ),
        (
            "Tokens with zero advantage",
            "share of response tokens",
            {"GRPO": ("without", "zero_advantage"), "with EchoRL": ("with", "zero_advantage")},
        ),
        (
            "Gradient norms, log scale",
            "norm before clipping",
            {
                "GRPO": ("without", "policy_grad_norm"),
                "with EchoRL:\npolicy": ("with", "policy_grad_norm"),
                "with EchoRL:\necho term": ("with", "echo_grad_norm"),
            },
        ),
    )
    seeds = len(raw["with"]["steps"])
    with style():
        figure, grid = panel_grid(len(panels))
        for index, (axes, (title, unit, lines)) in enumerate(zip(grid, panels, strict=True)):
            steps = np.array(raw["with"]["steps"][0])
            step_axis(axes, steps)
            shown = {label: [_smoothed(run) for run in raw[arm][column]] for label, (arm, column) in lines.items()}
            if index < 2:
                share_axis(axes, (value for runs in shown.values() for run in runs for value in run))
            else:
                log_axis(axes)
            banded(axes, steps, shown, markers=len(steps) == 1)
            dress(axes, title, f"Smoothed; mean and 95 % interval over {seeds} seed{'s' * (seeds > 1)}", unit)
        save(figure, path)


def _smoothed(run: list[float | None]) -> list[float]:
    return smooth(np.array(run, dtype=float), window_for(len(run))).tolist()


def _columns(run: RunData) -> dict[str, list[float | None]]:
    zero_advantage = run.get(names.ZERO_ADVANTAGE)
    # Without the echo term the policy gradient is the whole gradient.
    policy_grad_norm = run.get(*POLICY_GRAD) if run.has(*POLICY_GRAD) else run.get(names.GRAD_NORM)
    with np.errstate(divide="ignore", invalid="ignore"):
        over_others = policy_grad_norm / (1 - zero_advantage)
    columns = {
        "all_success": run.get(names.ALL_SUCCESS),
        "all_fail": run.get(names.ALL_FAIL),
        "zero_advantage": zero_advantage,
        "policy_grad_norm": policy_grad_norm,
        "advantage_grad_norm": np.where(zero_advantage < 1, over_others, math.nan),  # undefined without such tokens
        "echo_grad_norm": run.get(*ECHO_GRAD),
        "echo_loss": run.get(names.ECHO_LOSS),
    }
    return {"steps": run.steps.tolist(), **{name: values.tolist() for name, values in columns.items()}}


def _changes(runs: list[list[float]]) -> tuple[float, ...]:
    return tuple(late - early for early, late in map(tenths, runs))


EXPERIMENT = Experiment(
    "Advantage degeneration",
    "during GRPO training the shares of all-success groups and zero-advantage tokens grow and the policy gradient "
    "fades",
    runs,
    analyse,
    draw,
)
