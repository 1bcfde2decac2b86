"""Entropy of demonstrations under the policy, compared with that of the policy's verified rollouts.

For each problem that the policy solves at least once in n rollouts: the mean entropy (nats, full vocabulary) of the
text tokens in its verified rollouts, and in the problem's demonstration, scored by the same policy; and the mean of the
step entropies H(s), which EchoRL ranks. The verified rollouts of a problem are pooled; problems have equal weight.
Truncated rollouts and problems without a usable demonstration are left out.

The verdict is on the policy after its GRPO run; the numbers before training are reported too. The tiny policies were
warm-started on solutions in the same format, so demonstrations are less surprising to them than to a real model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from echorl_vl.core import step_entropies
from echorl_vl.errors import UserError
from echorl_vl.evidence.experiment import Experiment, Results, Table
from echorl_vl.evidence.plots import banded
from echorl_vl.evidence.probe import Probe
from echorl_vl.evidence.runs import START, Measurement, Run, train_pair
from echorl_vl.evidence.setup import Setup
from echorl_vl.evidence.statistics import Contrast, interval
from echorl_vl.evidence.store import Store
from echorl_vl.outputs.plot_style import MUTED, dress, panel_grid, save, style

PROBLEMS = 200
UNITS = ("token", "step")
KINDS = {"own": "verified rollouts", "expert": "demonstrations"}  # the keys of stored measurements and results


def trace_entropies(probe: Probe, seed: int, spec: str) -> dict[str, Any]:
    """Measure kind -> unit -> entropies in nats, one per solved problem.

    Raises:
        UserError: no problem was solved.
    """
    problems = probe.problems(spec, PROBLEMS, seed, demonstrations=True)
    prompts = probe.prompts(problems)
    sample = probe.sample(prompts, probe.config.worker.rollout.n, seed, "traces")
    rollouts = sample.rollouts
    usable = sample.verified.to(rollouts.tokens.device) & ~rollouts.truncated
    solved = sorted(set(rollouts.group_ids[usable].tolist()))
    if not solved:
        raise UserError(
            f"{spec}: the policy solved none of the {len(problems)} problems, so there are no rollouts to compare"
        )
    demonstrations = probe.demonstrations([problems[index] for index in solved])
    group_ids = rollouts.group_ids[usable]
    found = {
        "own": _by_problem(rollouts.entropy[usable], probe.steps(rollouts)[usable], group_ids, solved),
        "expert": _by_problem(demonstrations.entropy, probe.steps(demonstrations), torch.tensor(solved), solved),
    }
    return {"problems": len(problems), "solved": len(solved), **found}


def _by_problem(entropy: Tensor, steps: Tensor, groups: Tensor, solved: list[int]) -> dict[str, list[float]]:
    """Return unit -> mean entropy of each problem over its rows; takes (B, T) entropies and steps, (B,) groups."""
    groups, inside, by_step = groups.to(entropy.device), steps >= 0, step_entropies(entropy, steps)
    found: dict[str, list[float]] = {unit: [] for unit in UNITS}
    for problem in solved:
        rows = groups == problem
        found["token"].append(round(entropy[rows][inside[rows]].mean().item(), 6))
        found["step"].append(round(by_step[rows].nanmean().item(), 6))
    return found


def _measurement(setup: Setup, seed: int, stage: int) -> Measurement:
    spec = next(iter(setup.splits.values()))
    run = train_pair(setup, seed)["without"] if stage else None
    return Measurement(setup, trace_entropies, seed, run, stage or START, {"spec": spec}, seconds=10.0)


def runs(setup: Setup) -> list[Run]:
    runs = [train_pair(setup, seed)["without"] for seed in setup.seeds]
    return [*runs, *(_measurement(setup, seed, stage) for seed in setup.seeds for stage in (0, setup.steps))]


def analyse(setup: Setup, store: Store) -> Results:
    stages = (0, setup.steps)
    raw: dict[str, Any] = {"stages": stages, "means": {kind: {unit: [] for unit in UNITS} for kind in KINDS}}
    raw["solved"] = []
    for seed in setup.seeds:
        found = [store.result(_measurement(setup, seed, stage)) for stage in stages]
        raw["solved"].append([one["solved"] for one in found])
        for kind in KINDS:
            for unit in UNITS:
                raw["means"][kind][unit].append([sum(one[kind][unit]) / one["solved"] for one in found])
    contrasts = {
        stage: [
            Contrast(
                f"demonstrations minus rollouts, per {unit}, {'after' if index else 'before'} training",
                tuple(
                    demonstrations[index] - rollouts[index]
                    for demonstrations, rollouts in zip(
                        raw["means"]["expert"][unit], raw["means"]["own"][unit], strict=True
                    )
                ),
                "above",
                len(UNITS),
            )
            for unit in UNITS
        ]
        for index, stage in enumerate(stages)
    }
    rows = []
    for index, stage in enumerate(stages):
        for unit, contrast in zip(UNITS, contrasts[stage], strict=True):
            means = (str(interval([of[index] for of in raw["means"][kind][unit]])) for kind in KINDS)
            rows.append((str(stage), unit, *means, str(contrast.interval)))
    columns = ("training step", "mean over", *(f"{name}, nats" for name in KINDS.values()), "difference")
    return Results(contrasts[setup.steps], Table(columns, rows), raw, contrasts[0])


def draw(raw: dict[str, Any], path: Path) -> None:
    """Draw the means per token, and the differences paired by seed."""
    stages = raw["stages"]
    means = {
        kind: {unit: np.array(runs, dtype=float) for unit, runs in of.items()} for kind, of in raw["means"].items()
    }
    per_token = {name: means[kind]["token"] for kind, name in KINDS.items()}
    differences = {f"per {unit}": means["expert"][unit] - means["own"][unit] for unit in UNITS}
    with style():
        figure, grid = panel_grid(2)
        panels = (
            ("Entropy per token", "Under the policy", "entropy, nats", per_token),
            ("Demonstrations minus rollouts", "Paired by seed", "difference, nats", differences),
        )
        for axes, (title, subtitle, label, lines) in zip(grid, panels, strict=True):
            axes.set_xticks(stages)
            known = np.concatenate([[0.0], *(values[np.isfinite(values)] for values in lines.values())])
            low, high = float(known.min()), float(known.max())
            pad = 0.25 * (high - low) or 1.0
            axes.set_ylim(low - pad * (low < 0), high + pad)  # before the labels, whose positions depend on it
            axes.axhline(0, color=MUTED, linewidth=1)
            banded(axes, stages, {name: values.tolist() for name, values in lines.items()})
            dress(axes, title, f"{subtitle}; mean and 95 % interval over seeds", label, "training step of the policy")
        save(figure, path)


EXPERIMENT = Experiment(
    "Demonstrations and verified rollouts",
    "demonstrations have a higher entropy under the policy than its verified rollouts (per token and per step)",
    runs,
    analyse,
    draw,
)
