"""EchoRL beside each base algorithm: accuracy after training, with it less without it, paired over seeds.

Both runs of a pair have the same seed (order of problems, rollouts), configuration and budget of rollouts: what
`trainer.max_steps` steps take without further sampling. DAPO's dynamic sampling draws more than a batch in a step, and
more without EchoRL than with it; each of its runs is tested at its last checkpoint within the budget, so at different
steps. LUFFY's expert rows are no rollouts and are the same in both runs of a pair.

Tested on problems like those of training, on kinds and on sizes that the RL training never saw (a warm start may have);
the test's draws use the same random numbers for both runs. The claim is about the mean over the four algorithms, on
each of the problem sets.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from eval.evidence.cells import Cell, train_pair
from eval.evidence.experiment import Experiment, Findings, Table
from eval.evidence.plots import forest
from eval.evidence.setup import Setup
from eval.evidence.statistics import Contrast, interval, number
from eval.evidence.store import Store
from eval.evidence.testing import Arms, differences, final_test, final_tests, raw_accuracies
from eval.paired import sign_flip_p

ALGORITHMS = ("grpo", "dapo", "luffy", "uft")


def _arms(setup: Setup, algorithm: str) -> Arms:
    return {seed: final_tests(setup, seed, train_pair(setup, seed, algorithm)) for seed in setup.seeds}


def cells(setup: Setup) -> list[Cell]:
    planned: list[Cell] = [final_test(setup, seed, None) for seed in setup.seeds]
    for seed in setup.seeds:  # seed by seed, so that something can be said early
        for algorithm in ALGORITHMS:
            for run in train_pair(setup, seed, algorithm).values():
                planned += [run, final_test(setup, seed, run)]
    return planned


def analyse(setup: Setup, store: Store) -> Findings:
    by_algorithm = {algorithm: _arms(setup, algorithm) for algorithm in ALGORITHMS}
    splits = list(setup.splits)
    before: Arms = {seed: {"before": final_test(setup, seed, None)} for seed in setup.seeds}
    accuracies = {algorithm: raw_accuracies(store, arms, splits) for algorithm, arms in by_algorithm.items()}
    tested = {algorithm: _steps_tested(store, arms) for algorithm, arms in by_algorithm.items()}
    raw: dict[str, Any] = {
        "before": raw_accuracies(store, before, splits),
        "algorithms": accuracies,
        "steps_tested": tested,
        "contrasts": [],
    }
    claims, others, rows = [], [], []
    for split in splits:
        found = {
            algorithm: differences(
                store, arms, "with", "without", split, f"{split}: {algorithm}", None, len(ALGORITHMS)
            )
            for algorithm, arms in by_algorithm.items()
        }
        by_seed = zip(*(contrast.values for contrast in found.values()), strict=True)
        pooled = tuple(sum(values) / len(found) for values in by_seed)
        rows.append(("before training", split, "", str(interval(raw["before"][split]["before"])), "", "", ""))
        claims.append(Contrast(f"{split}: mean of {len(found)}", pooled, "above", len(splits)))
        others += found.values()
        for algorithm, contrast in found.items():
            without, with_echo = (interval(accuracies[algorithm][split][arm]) for arm in ("without", "with"))
            at = " / ".join(f"{statistics.fmean(tested[algorithm][arm]):.0f}" for arm in ("without", "with"))
            rows.append((algorithm, split, at, str(without), str(with_echo), *_difference(contrast)))
        rows.append(("mean of all", split, "", "", "", *_difference(claims[-1])))
        raw["contrasts"] += [contrast.to_json() for contrast in (*found.values(), claims[-1])]
    columns = ("base algorithm", "problems", "at step", "without", "with EchoRL", "difference", "sign-flip p")
    return Findings(claims, Table(columns, rows), raw, others)


def _steps_tested(store: Store, arms: Arms) -> dict[str, list[int]]:
    """Arm -> the step of its policy under test, seed by seed."""
    return {arm: [store.step(of[arm]) for of in arms.values()] for arm in ("without", "with")}


def _difference(contrast: Contrast) -> tuple[str, str]:
    return str(contrast.interval), number(sign_flip_p(contrast.values))


def draw(raw: dict[str, Any], path: Path) -> None:
    subtitle = "With EchoRL less without; dots: seeds; bars: 95 % intervals"
    forest(path, raw["contrasts"], "Does EchoRL help the base algorithms?", subtitle, "difference in accuracy")


EXPERIMENT = Experiment(
    "EchoRL beside its base algorithms",
    "EchoRL raises the accuracy on average over GRPO, DAPO, LUFFY and UFT, in the domain of training and out of it",
    cells,
    analyse,
    draw,
)
