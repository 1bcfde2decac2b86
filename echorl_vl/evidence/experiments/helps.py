"""EchoRL with each base algorithm: accuracy after training with EchoRL minus without it, paired over seeds.

Both runs of a pair have the same seed (order of problems, rollouts), configuration and rollout budget, which is that of
`trainer.max_steps` steps without dynamic sampling. DAPO's dynamic sampling takes more than a batch per step, and more
without EchoRL than with it; each of its runs is tested at its last checkpoint within the budget, so at different steps.
LUFFY's off-policy rows don't count as rollouts and are the same in both runs.

DAPO with EchoRL differs from DAPO in two ways: it keeps all-success groups, so that a step needs fewer rollouts and the
budget lasts for more steps, and it adds the echo term. A third arm keeps the groups without the term
(`algorithm.keep_all_success_groups`); it separates the effects of sampling and term.

The tests are on problems like those of training, and on kinds and sizes that are not in the RL training (a warm start
may have seen them), with the same random numbers for both runs. The claim is about two means over the four algorithms
on each problem set: of the pairs as in the paper, and of the effects of the term alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from echorl_vl.evaluation.paired import sign_flip_p
from echorl_vl.evidence.experiment import Experiment, Results, Table
from echorl_vl.evidence.plots import forest
from echorl_vl.evidence.runs import KEEPS_GROUPS, Measurement, Run, Training, filters_groups, train, train_pair
from echorl_vl.evidence.setup import Setup
from echorl_vl.evidence.statistics import Contrast, interval, p_value
from echorl_vl.evidence.store import Store
from echorl_vl.evidence.testing import Tests, differences, final_test, final_tests, raw_accuracies, with_tests

ALGORITHMS = ("grpo", "dapo", "luffy", "uft")
SAMPLING = "sampling"
COMPARISONS = {
    "grpo": ("grpo", "without", "with"),
    "dapo": ("dapo", "without", "with"),
    "dapo, the sampling alone": ("dapo", "without", SAMPLING),
    "dapo, the term alone": ("dapo", SAMPLING, "with"),
    "luffy": ("luffy", "without", "with"),
    "uft": ("uft", "without", "with"),
}
"""Name of a row -> (algorithm, reference arm, compared arm)."""
TERM_ALONE = ("grpo", "dapo, the term alone", "luffy", "uft")
"""Comparisons whose arms differ only in the echo term."""
MEANS = {"mean of the four": ALGORITHMS, "mean, the term alone": TERM_ALONE}


def arms(setup: Setup, seed: int, algorithm: str) -> dict[str, Training]:
    """Return the arms of an algorithm: without EchoRL, with it, and for DAPO with its sampling but not its term."""
    pair = train_pair(setup, seed, algorithm)
    if not filters_groups(algorithm):
        return pair
    return pair | {SAMPLING: train(setup, seed, 0.0, algorithm, variant="kept", extra=KEEPS_GROUPS, keep="budget")}


def _tests(setup: Setup, algorithm: str) -> Tests:
    return {seed: final_tests(setup, seed, arms(setup, seed, algorithm)) for seed in setup.seeds}


def runs(setup: Setup) -> list[Run]:
    def of_seed(seed: int) -> dict[str, Training]:
        every = {algorithm: arms(setup, seed, algorithm) for algorithm in ALGORITHMS}
        return {f"{algorithm}: {name}": run for algorithm, of in every.items() for name, run in of.items()}

    return [*(final_test(setup, seed, None) for seed in setup.seeds), *with_tests(setup, of_seed)]


def analyse(setup: Setup, store: Store) -> Results:
    by_algorithm = {algorithm: _tests(setup, algorithm) for algorithm in ALGORITHMS}
    splits = list(setup.splits)
    before: Tests = {seed: {"before": final_test(setup, seed, None)} for seed in setup.seeds}
    accuracies = {algorithm: raw_accuracies(store, tests, splits) for algorithm, tests in by_algorithm.items()}
    tested = {algorithm: _tested(store.step, tests) for algorithm, tests in by_algorithm.items()}
    used = {algorithm: _tested(store.budget_used, tests) for algorithm, tests in by_algorithm.items()}
    raw: dict[str, Any] = {
        "before": raw_accuracies(store, before, splits),
        "algorithms": accuracies,
        "steps_tested": tested,
        "budget_used": used,
        "contrasts": [],
    }
    claims, others, rows = [], [], []
    for split in splits:
        found = {
            name: differences(
                store,
                by_algorithm[algorithm],
                one,
                other,
                split,
                f"{split}: {name}",
                None,
                len(COMPARISONS) * len(splits),
            )
            for name, (algorithm, other, one) in COMPARISONS.items()
        }
        means = {
            name: _mean(f"{split}: {name}", [found[part] for part in parts], len(MEANS) * len(splits))
            for name, parts in MEANS.items()
        }
        claims += means.values()
        others += found.values()
        rows.append(("before training", split, "", str(interval(raw["before"][split]["before"])), "", "", ""))
        for name, (algorithm, *arms) in COMPARISONS.items():
            at = " / ".join(_at(tested[algorithm][arm], used[algorithm][arm]) for arm in arms)
            values = (str(interval(accuracies[algorithm][split][arm])) for arm in arms)
            rows.append((name, split, at, *values, *_difference(found[name])))
        rows += [(name, split, "", "", "", *_difference(mean)) for name, mean in means.items()]
        raw["contrasts"] += [contrast.to_json() for contrast in (*found.values(), *means.values())]
    columns = ("comparison", "problems", "at step (budget used)", "without", "with", "difference", "sign-flip p")
    return Results(claims, Table(columns, rows), raw, others)


def _mean(name: str, contrasts: Sequence[Contrast], comparisons: int) -> Contrast:
    """Return the mean of several contrasts by seed, claimed to be above zero."""
    by_seed = zip(*(contrast.values for contrast in contrasts), strict=True)
    return Contrast(name, tuple(map(statistics.fmean, by_seed)), "above", comparisons)


def _tested(read: Callable[[Measurement], float], tests: Tests) -> dict[str, list[float]]:
    """Return arm -> the value that `read` gives for its tested policy, by seed."""
    names = next(iter(tests.values()))
    return {name: [read(of[name]) for of in tests.values()] for name in names}


def _at(steps: Sequence[float], used: Sequence[float]) -> str:
    return f"{statistics.fmean(steps):.0f} ({100 * statistics.fmean(used):.0f} %)"


def _difference(contrast: Contrast) -> tuple[str, str]:
    return str(contrast.interval), p_value(sign_flip_p(contrast.values))


def draw(raw: dict[str, Any], path: Path) -> None:
    subtitle = "Dots: seeds; bars: 95 %, simultaneous over pairs, over means"
    forest(path, raw["contrasts"], "Does EchoRL help the base algorithms?", subtitle, "difference in accuracy")


EXPERIMENT = Experiment(
    "EchoRL with each base algorithm",
    "EchoRL, and its term alone, increase the mean accuracy over GRPO, DAPO, LUFFY and UFT (on problems like those of "
    "training and on kinds and sizes that are not in the RL training)",
    runs,
    analyse,
    draw,
)
