"""Accuracy of trained policies on the problem sets of a setup, and differences between two arms over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from echorl_vl.evidence.probe import Probe
from echorl_vl.evidence.runs import BUDGET, START, Measurement, Run, Training
from echorl_vl.evidence.setup import Setup
from echorl_vl.evidence.statistics import Contrast
from echorl_vl.evidence.store import Store

Tests = Mapping[int, Mapping[str, Measurement]]
"""seed -> name of the arm -> its test."""


def accuracies(probe: Probe, seed: int, splits: Mapping[str, str], samples: int) -> dict[str, Any]:
    """Mean accuracy of `samples` responses a problem on every set, sampled as in training.

    The draws of two policies use the same random numbers, problem by problem.
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
    """The test of a run's policy when the budget of rollouts is used up; None: of the model before training."""
    options = {"splits": dict(setup.splits), "samples": setup.samples}
    where = START if training is None else BUDGET
    return Measurement(setup, accuracies, seed, training, where, options, seconds=15.0)


def final_tests(setup: Setup, seed: int, runs: Mapping[str, Training]) -> dict[str, Measurement]:
    """The same of several runs, by their names."""
    return {name: final_test(setup, seed, run) for name, run in runs.items()}


def with_tests(setup: Setup, arms: Callable[[int], Mapping[str, Training]]) -> list[Run]:
    """The runs of every seed, each followed by its test."""
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
    """Accuracy of arm `one` less that of arm `other`, seed by seed."""
    values = tuple(accuracy(store, of[one], split) - accuracy(store, of[other], split) for of in tests.values())
    return Contrast(name, values, claimed, comparisons)


def raw_accuracies(store: Store, tests: Tests, splits: Sequence[str]) -> dict[str, Any]:
    """split -> arm -> accuracies, seed by seed."""
    names = list(next(iter(tests.values())))
    return {
        split: {name: [accuracy(store, of[name], split) for of in tests.values()] for name in names} for split in splits
    }
