"""Test accuracy of trained policies, and paired differences between arms over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from echorl_vl.evidence.probe import Probe
from echorl_vl.evidence.runs import BUDGET, START, Measurement, Run, Training
from echorl_vl.evidence.setup import Setup
from echorl_vl.evidence.statistics import Contrast
from echorl_vl.evidence.store import Store

Tests = Mapping[int, Mapping[str, Measurement]]
"""seed -> name of the arm -> its test measurement."""


def accuracies(probe: Probe, seed: int, splits: Mapping[str, str], samples: int) -> dict[str, Any]:
    """Measure the mean accuracy on every problem set, with `samples` responses per problem, sampled as in training.

    All policies are sampled with the same random numbers on each problem.
    """
    found = {}
    for name, spec in splits.items():
        prompts = probe.prompts(probe.problems(spec))
        sample = probe.sample(prompts, samples, seed, f"test {name}")
        correct = sample.verified.double().tolist()
        found[name] = {
            "accuracy": sum(correct) / len(correct),
            "problems": len(prompts),
        }
    return found


def final_test(setup: Setup, seed: int, training: Training | None) -> Measurement:
    """Return the test of a run's policy at the end of the rollout budget, or of the model before training (None)."""
    options = {"splits": dict(setup.splits), "samples": setup.samples}
    where = START if training is None else BUDGET
    return Measurement(setup, accuracies, seed, training, where, options, seconds=15.0)


def final_tests(setup: Setup, seed: int, runs: Mapping[str, Training]) -> dict[str, Measurement]:
    """Return the final tests of several runs, by name."""
    return {name: final_test(setup, seed, run) for name, run in runs.items()}


def with_tests(setup: Setup, arms: Callable[[int], Mapping[str, Training]]) -> list[Run]:
    """Return the runs of all seeds, each followed by its final test."""
    pairs = ((seed, run) for seed in setup.seeds for run in arms(seed).values())
    return [one for seed, run in pairs for one in (run, final_test(setup, seed, run))]


def accuracy(store: Store, run: Measurement, split: str) -> float:
    return store.result(run)[split]["accuracy"]


def differences(
    store: Store,
    tests: Tests,
    one: str,
    other: str,
    split: str,
    name: str,
    claimed: str | None = None,
    comparisons: int = 1,
) -> Contrast:
    """Return the accuracy of arm `one` minus that of arm `other`, for each seed."""
    values = tuple(accuracy(store, of[one], split) - accuracy(store, of[other], split) for of in tests.values())
    return Contrast(name, values, claimed, comparisons)


def raw_accuracies(store: Store, tests: Tests, splits: Sequence[str]) -> dict[str, Any]:
    """Return split -> arm -> accuracies by seed."""
    names = list(next(iter(tests.values())))
    return {
        split: {name: [accuracy(store, of[name], split) for of in tests.values()] for name in names} for split in splits
    }
