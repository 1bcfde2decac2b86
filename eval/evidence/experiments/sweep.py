"""What makes EchoRL help or harm: lambda, warm-up, step length, the choice of clips, degenerate groups only.

Each variant is GRPO with EchoRL and one change, against GRPO without, paired over seeds as in `helps`. Of many variants
the best looks better than it is, so the intervals are those of the whole family (Bonferroni). The claim is that of the
configuration's own variant, the paper's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.evidence.cells import Cell, Training, train, train_pair
from eval.evidence.experiment import Experiment, Findings, Table
from eval.evidence.plots import forest
from eval.evidence.setup import Setup
from eval.evidence.statistics import interval, number
from eval.evidence.store import Store
from eval.evidence.testing import Arms, differences, final_test, final_tests, raw_accuracies
from eval.paired import sign_flip_p

COEFS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
CHANGES = {
    "warm-up over a third": {},  # its steps depend on the run's
    "steps of 4 tokens or more": {"echo.min_step_tokens": "4"},
    "steps of 8 tokens or more": {"echo.min_step_tokens": "8"},
    "2 highest steps": {"echo.select": "topk", "echo.k": "2"},
    "4 highest steps": {"echo.select": "topk", "echo.k": "4"},
    "softmax, tau 0.1": {"echo.select": "softmax", "echo.tau": "0.1"},
    "softmax, tau 1": {"echo.select": "softmax", "echo.tau": "1.0"},
    "degenerate groups only": {"echo.apply_to": "degenerate"},
}
BASE = "without"


def variants(setup: Setup, seed: int) -> dict[str, Training]:
    """name -> run, the base first; lambda of the changes is the configuration's."""
    pair = train_pair(setup, seed)
    runs = {BASE: pair["without"]}
    for coef in COEFS:
        label = f"lambda {coef:g}"
        runs[label] = pair["with"] if coef == setup.coef else train(setup, seed, coef, variant=f"coef{coef:g}")
    if f"lambda {setup.coef:g}" not in runs:
        runs[f"lambda {setup.coef:g}"] = pair["with"]
    for name, keys in CHANGES.items():
        own = keys or {"echo.warmup_steps": str(max(1, setup.steps // 3))}
        label = "".join(letter if letter.isalnum() else "-" for letter in name.split(",")[0])
        runs[name] = train(setup, seed, variant=label, extra=own)
    return runs


def cells(setup: Setup) -> list[Cell]:
    planned: list[Cell] = []
    for seed in setup.seeds:
        for run in variants(setup, seed).values():
            planned += [run, final_test(setup, seed, run)]
    return planned


def analyse(setup: Setup, store: Store) -> Findings:
    arms: Arms = {seed: final_tests(setup, seed, variants(setup, seed)) for seed in setup.seeds}
    names = [name for name in next(iter(arms.values())) if name != BASE]
    split = next(iter(setup.splits))
    own = f"lambda {setup.coef:g}"
    found = {
        name: differences(store, arms, name, BASE, split, name, "above" if name == own else None, len(names))
        for name in names
    }
    accuracies = raw_accuracies(store, arms, list(setup.splits))
    rows = []
    for name, contrast in found.items():
        others = [str(interval(accuracies[one][name])) for one in setup.splits]
        rows.append((name, *others, str(contrast.interval), number(sign_flip_p(contrast.values))))
    without = [str(interval(accuracies[one][BASE])) for one in setup.splits]
    rows.insert(0, ("without EchoRL", *without, "", ""))
    raw = {"accuracies": accuracies, "contrasts": [contrast.to_json() for contrast in found.values()]}
    columns = ("variant", *setup.splits, f"{split}, less without", "sign-flip p")
    return Findings([found[own]], Table(columns, rows), raw, [found[name] for name in names if name != own])


def draw(raw: dict[str, Any], path: Path) -> None:
    subtitle = "Each variant less GRPO; dots: seeds; bars: simultaneous 95 % intervals"
    forest(path, raw["contrasts"], "What makes EchoRL help?", subtitle, "difference in accuracy")


EXPERIMENT = Experiment(
    "The sweep that the paper lacks",
    "EchoRL as the configuration has it beats GRPO in the domain of training, judged as one of all the variants swept",
    cells,
    analyse,
    draw,
)
