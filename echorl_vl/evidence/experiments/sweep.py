"""A sweep over lambda, warm-up, step length, the choice of clips, and degenerate groups only.

Each variant is GRPO with EchoRL, compared with GRPO without it, paired over seeds as in `helps`. The best of many
variants looks better than it is, so the intervals are corrected for the whole family (Bonferroni). The claim is about
the variant in the configuration, which is the paper's.

Changes other than lambda are made at ten times the configuration's lambda, and also compared with that lambda without
the change: at the paper's lambda the term has too little effect to distinguish variants.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from echorl_vl.core import metric_names as names
from echorl_vl.evaluation.paired import sign_flip_p
from echorl_vl.evidence.experiment import Experiment, Results, Table
from echorl_vl.evidence.plots import forest
from echorl_vl.evidence.runs import Run, Training, train, train_pair
from echorl_vl.evidence.setup import Setup
from echorl_vl.evidence.statistics import interval, p_value, tenths
from echorl_vl.evidence.store import Store
from echorl_vl.evidence.testing import Tests, differences, final_tests, raw_accuracies, with_tests
from echorl_vl.outputs.plot_data import RunData

COEFS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
STRONGER = 10
"""Factor on the configuration's lambda for the other changes."""
WARM_UP = "warm-up over a third"
CHANGES = {
    "steps of 4 tokens or more": {"echo.min_step_tokens": "4"},
    "steps of 8 tokens or more": {"echo.min_step_tokens": "8"},
    "2 highest steps": {"echo.select": "topk", "echo.k": "2"},
    "4 highest steps": {"echo.select": "topk", "echo.k": "4"},
    "softmax, tau 0.1": {"echo.select": "softmax", "echo.tau": "0.1"},
    "softmax, tau 1": {"echo.select": "softmax", "echo.tau": "1.0"},
    "degenerate groups only": {"echo.apply_to": "degenerate"},
}
BASE = "without"
LINEAR = 0.02
"""Difference beyond which the plot is logarithmic: at the largest lambda some runs collapse and differ by 0.1."""


def variants(setup: Setup, seed: int) -> dict[str, Training]:
    """Return name -> run: the base, lambda in rising order, the other changes."""
    pair = train_pair(setup, seed)
    runs = {BASE: pair["without"]}
    for coef in sorted({*COEFS, setup.coef, stronger(setup)}):
        paper = coef == setup.coef
        runs[f"lambda {coef:g}"] = pair["with"] if paper else train(setup, seed, coef, variant=f"coef{coef:g}")
    for name, keys in changes(setup).items():
        label = "".join(letter if letter.isalnum() else "-" for letter in name)
        runs[name] = train(setup, seed, stronger(setup), variant=label, extra=keys)
    return runs


def changes(setup: Setup) -> dict[str, dict[str, str]]:
    """Return name -> configuration keys of each change."""
    return {WARM_UP: {"echo.warmup_steps": str(max(1, setup.steps // 3))}, **CHANGES}


def stronger(setup: Setup) -> float:
    """Return the lambda of the other changes."""
    return float(f"{STRONGER * setup.coef:.6g}")  # 0.01, not 0.010000000000000002


def runs(setup: Setup) -> list[Run]:
    return with_tests(setup, lambda seed: variants(setup, seed))


def analyse(setup: Setup, store: Store) -> Results:
    runs = {seed: variants(setup, seed) for seed in setup.seeds}
    tests: Tests = {seed: final_tests(setup, seed, of) for seed, of in runs.items()}
    split = next(iter(setup.splits))
    own, unchanged = f"lambda {setup.coef:g}", f"lambda {stronger(setup):g}"
    swept = [name for name in next(iter(tests.values())) if name != BASE]
    found = {
        name: differences(store, tests, name, BASE, split, name, "above" if name == own else None, len(swept))
        for name in swept
    }
    changed = changes(setup)
    against = {
        name: differences(store, tests, name, unchanged, split, f"{name}, minus {unchanged}", None, len(changed))
        for name in changed
    }
    accuracies = raw_accuracies(store, tests, list(setup.splits))
    entropies = {name: [_late_entropy(store, of[name]) for of in runs.values()] for name in (BASE, *swept)}
    rows = []
    for name in (BASE, *swept):
        change, other = found.get(name), against.get(name)
        rows.append(
            (
                f"{unchanged}, {name}" if name in against else name,
                *(str(interval(accuracies[problems][name])) for problems in setup.splits),
                str(interval(entropies[name])),
                *(("", "") if change is None else (str(change.interval), p_value(sign_flip_p(change.values)))),
                "" if other is None else str(other.interval),
            )
        )
    raw = {
        "accuracies": accuracies,
        "entropies": entropies,
        "contrasts": [contrast.to_json() for contrast in found.values()],
    }
    columns = (
        "variant",
        *setup.splits,
        "entropy in the last tenth, nats",
        f"{split}: difference from GRPO",
        "sign-flip p",
        f"{split}: difference from {unchanged}",
    )
    others = [found[name] for name in swept if name != own] + [*against.values()]
    return Results([found[own]], Table(columns, rows), raw, others)


def _late_entropy(store: Store, run: Training) -> float:
    """Return the mean entropy of response tokens over the last tenth of the steps, at most ten."""
    return tenths(RunData.of(store.metrics(run)).get(names.ENTROPY))[1]


def draw(raw: dict[str, Any], path: Path) -> None:
    subtitle = "Each variant minus GRPO; dots: seeds; bars: simultaneous 95 % intervals"
    forest(
        path,
        raw["contrasts"],
        "What makes EchoRL help?",
        subtitle,
        f"difference in accuracy, log beyond {LINEAR:g}",
        LINEAR,
    )


EXPERIMENT = Experiment(
    "A sweep over the settings of EchoRL",
    "EchoRL with the configured settings has a higher accuracy than GRPO in the training domain (corrected for all "
    "variants)",
    runs,
    analyse,
    draw,
)
