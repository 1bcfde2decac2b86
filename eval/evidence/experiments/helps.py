"""EchoRL beside each base algorithm: accuracy after training, with it less without it, paired over seeds.

Both runs of a pair have the same seed (order of problems, rollouts), configuration and budget of rollouts: what
`trainer.max_steps` steps take without further sampling. DAPO's dynamic sampling draws more than a batch in a step, and
more without EchoRL than with it; each of its runs is tested at its last checkpoint within the budget, so at different
steps. LUFFY's expert rows are no rollouts and are the same in both runs of a pair.

Tested on problems like those of training, on kinds and on sizes that training never saw; the test's draws use the same
random numbers for both runs. The claim is about the mean over the four algorithms, on each of the problem sets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.evidence.cells import Cell, train_pair
from eval.evidence.experiment import Experiment, Findings, Table
from eval.evidence.plots import forest
from eval.evidence.setup import Setup
from eval.evidence.statistics import Contrast, interval, number, sign_flip_p
from eval.evidence.store import Store
from eval.evidence.testing import Arms, differences, raw_accuracies, tested

ALGORITHMS = ("grpo", "dapo", "luffy", "uft")


def _arms(setup: Setup, algorithm: str) -> Arms:
    pairs = {seed: train_pair(setup, seed, algorithm) for seed in setup.seeds}
    return {seed: {arm: tested(setup, seed, run) for arm, run in pair.items()} for seed, pair in pairs.items()}


def cells(setup: Setup) -> list[Cell]:
    planned: list[Cell] = [tested(setup, seed, None) for seed in setup.seeds]
    for seed in setup.seeds:  # seed by seed, so that something can be said early
        for algorithm in ALGORITHMS:
            for run in train_pair(setup, seed, algorithm).values():
                planned += [run, tested(setup, seed, run)]
    return planned


def analyse(setup: Setup, store: Store) -> Findings:
    raw: dict[str, Any] = {"algorithms": {}, "contrasts": []}
    before = {seed: {"before": tested(setup, seed, None)} for seed in setup.seeds}
    raw["before"] = raw_accuracies(store, before, list(setup.splits))
    claims, others, rows = [], [], []
    by_algorithm = {algorithm: _arms(setup, algorithm) for algorithm in ALGORITHMS}
    for algorithm, arms in by_algorithm.items():
        raw["algorithms"][algorithm] = raw_accuracies(store, arms, list(setup.splits))
    for split in setup.splits:
        found = [
            differences(store, arms, "with", "without", split, f"{split}: {algorithm}", None, len(ALGORITHMS))
            for algorithm, arms in by_algorithm.items()
        ]
        pooled = tuple(sum(values) / len(found) for values in zip(*(one.values for one in found), strict=True))
        claims.append(Contrast(f"{split}: mean of {len(found)}", pooled, "above", len(setup.splits)))
        others += found
        for algorithm, contrast in zip(ALGORITHMS, found, strict=True):
            values = raw["algorithms"][algorithm][split]
            cells_of = (str(interval(values["without"])), str(interval(values["with"])))
            rows.append(_row(algorithm, split, *cells_of, contrast))
        rows.append(_row("mean of all", split, "", "", claims[-1]))
    raw["contrasts"] = [contrast.to_json() for contrast in _by_split(claims, others)]
    columns = ("base algorithm", "problems", "without", "with EchoRL", "difference", "sign-flip p")
    return Findings(claims, Table(columns, rows), raw, others)


def _row(algorithm: str, split: str, without: str, with_echo: str, contrast: Contrast) -> tuple[str, ...]:
    return (algorithm, split, without, with_echo, str(contrast.interval), number(sign_flip_p(contrast.values)))


def _by_split(claims: list[Contrast], others: list[Contrast]) -> list[Contrast]:
    return sorted(
        [*others, *claims], key=lambda one: [claim.name.split(":")[0] for claim in claims].index(one.name.split(":")[0])
    )


def draw(raw: dict[str, Any], path: Path) -> None:
    subtitle = "Accuracy with EchoRL less without; dots: seeds; bars: 95 % intervals of each family"
    forest(path, raw["contrasts"], "Does EchoRL help the base algorithms?", subtitle, "difference in accuracy")


EXPERIMENT = Experiment(
    "EchoRL beside its base algorithms",
    "EchoRL raises the accuracy of GRPO, DAPO, LUFFY and UFT, in the domain of training and out of it",
    cells,
    analyse,
    draw,
)
