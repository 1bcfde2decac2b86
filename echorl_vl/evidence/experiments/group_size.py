"""Reinforce-Ada's objection: are all-success groups an artefact of small groups? Their share by group size.

If c of N rollouts of a prompt are correct, a group of n of them, sampled without replacement, is an all-success group
with probability

    C(c, n) / C(N, n),

an unbiased estimate of p^n for the prompt's success rate p. This is the estimator of pass@k (Chen et al., 2021, arXiv
2107.03374, eq. 1), 1 - C(N - c, k) / C(N, k), with correct and incorrect exchanged. One sample of N rollouts gives the
shares for all n.

The objection (Xiong et al., 2025, arXiv 2510.04996) is supported if most all-success groups of size 8 would not be ones
at size 64: if the share at 64 is less than half of the share at 8. It is measured on training problems, at a few stages
of a GRPO run.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from echorl_vl.evidence.experiment import Experiment, Results, Table
from echorl_vl.evidence.plots import banded, share_axis
from echorl_vl.evidence.probe import Probe
from echorl_vl.evidence.runs import START, Measurement, Run, checkpoint_steps, train_pair
from echorl_vl.evidence.setup import Setup
from echorl_vl.evidence.statistics import Contrast, interval
from echorl_vl.evidence.store import Store
from echorl_vl.outputs.plot_style import dress, panel_grid, save, style

SIZES = (4, 8, 16, 32, 64)
USUAL, LARGE = 8, 64
PROBLEMS = 100


def all_success_share(counts: list[int], sampled: int, size: int) -> float:
    """Return the expected share of all-success groups.

    Args:
        counts: number of correct rollouts of each prompt.
        sampled: number of rollouts of each prompt.
        size: group size.

    Raises:
        ValueError: `size` is not in 1..`sampled`; sampling with replacement would be biased.
    """
    if not 1 <= size <= sampled:
        raise ValueError(f"groups of {size} can't be sampled from {sampled} rollouts")
    return sum(math.comb(count, size) for count in counts) / math.comb(sampled, size) / len(counts)


def success_counts(probe: Probe, seed: int, spec: str, sampled: int) -> dict[str, Any]:
    """Measure the number of correct rollouts, out of `sampled`, on problems chosen by the seed."""
    prompts = probe.prompts(probe.problems(spec, PROBLEMS, seed))
    sample = probe.sample(prompts, sampled, seed, "group size")
    return {"counts": sample.correct_counts().tolist(), "sampled": sampled}


def _stages(setup: Setup) -> list[int]:
    return [0, *checkpoint_steps(setup.steps, "stages")]


def _measurement(setup: Setup, seed: int, stage: int) -> Measurement:
    options = {"spec": setup.base.data.train_files, "sampled": LARGE}
    run = train_pair(setup, seed)["without"] if stage else None
    return Measurement(setup, success_counts, seed, run, stage or START, options, seconds=20.0)


def runs(setup: Setup) -> list[Run]:
    runs = [train_pair(setup, seed)["without"] for seed in setup.seeds]
    return [*runs, *(_measurement(setup, seed, stage) for seed in setup.seeds for stage in _stages(setup))]


def analyse(setup: Setup, store: Store) -> Results:
    stages = _stages(setup)
    raw: dict[str, Any] = {"sizes": SIZES, "stages": stages, "shares": {}, "counts": {}}
    for stage in stages:
        found = [store.result(_measurement(setup, seed, stage)) for seed in setup.seeds]
        raw["counts"][str(stage)] = [one["counts"] for one in found]
        raw["shares"][str(stage)] = [
            [all_success_share(one["counts"], one["sampled"], size) for size in SIZES] for one in found
        ]
    usual, large = SIZES.index(USUAL), SIZES.index(LARGE)
    last = raw["shares"][str(stages[-1])]
    name = f"half of the all-success share at n = {USUAL} minus the share at n = {LARGE}, after training"
    claim = Contrast(name, tuple(shares[usual] / 2 - shares[large] for shares in last), "above")
    rows = []
    for stage in stages:
        columns = zip(*raw["shares"][str(stage)], strict=True)
        rows.append((str(stage), *(str(interval(column)) for column in columns)))
    return Results([claim], Table(("training step", *(f"n = {size}" for size in SIZES)), rows), raw)


def draw(raw: dict[str, Any], path: Path) -> None:
    with style():
        figure, (axes,) = panel_grid(1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(raw["sizes"], [str(size) for size in raw["sizes"]])
        share_axis(axes, (value for of in raw["shares"].values() for shares in of for value in shares))
        banded(axes, raw["sizes"], {f"step {stage}": raw["shares"][str(stage)] for stage in raw["stages"]})
        subtitle = "Share of groups, from 64 rollouts per problem; mean and 95 % interval over seeds"
        dress(axes, "All-success groups by group size", subtitle, "all-success groups", "rollouts in a group, n")
        save(figure, path)


EXPERIMENT = Experiment(
    "Group size",
    "most all-success groups are due to small groups, as the authors of Reinforce-Ada argue (at n = 64 less than half "
    "as many as at n = 8)",
    runs,
    analyse,
    draw,
)
