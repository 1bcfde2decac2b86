"""The choice of the step: clips of equal length and weight that end at a random, first, last or lowest-entropy step.

Each arm is GRPO with the echo term on the clips of one selector (`echo.select`). All clips have the length of the
paper's clip in the same group (`echo.clip_tokens: as_max`), so that the losses differ only in the echoed tokens. The
paper's choice, the step of highest entropy, is compared with the others, paired over seeds.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from echorl_vl.core import metric_names as names
from echorl_vl.evaluation.paired import sign_flip_p
from echorl_vl.evidence.experiment import Experiment, Results, Table
from echorl_vl.evidence.plots import forest
from echorl_vl.evidence.runs import Run, Training, train, train_pair
from echorl_vl.evidence.setup import Setup
from echorl_vl.evidence.statistics import interval, p_value
from echorl_vl.evidence.store import Store
from echorl_vl.evidence.testing import Tests, differences, final_tests, raw_accuracies, with_tests

OTHERS = ("random", "first", "last", "lowest")
PAPER, BASE = "highest", "without"


def arms(setup: Setup, seed: int) -> dict[str, Training]:
    """Return the arms: the paper's clips and the base, which all experiments share, and the other selectors."""
    pair = train_pair(setup, seed)
    others = {
        name: train(setup, seed, variant=f"step-{name}", extra={"echo.select": name, "echo.clip_tokens": "as_max"})
        for name in OTHERS
    }
    return {BASE: pair["without"], PAPER: pair["with"], **others}


def runs(setup: Setup) -> list[Run]:
    return with_tests(setup, lambda seed: arms(setup, seed))


def analyse(setup: Setup, store: Store) -> Results:
    tests: Tests = {seed: final_tests(setup, seed, arms(setup, seed)) for seed in setup.seeds}
    split = next(iter(setup.splits))
    claims = [
        differences(store, tests, PAPER, other, split, f"{PAPER} minus {other}", "above", len(OTHERS))
        for other in OTHERS
    ]
    accuracies = raw_accuracies(store, tests, list(setup.splits))
    overlaps = {other: [_overlap(store, arms(setup, seed)[other]) for seed in setup.seeds] for other in OTHERS}
    against = dict(zip(OTHERS, claims, strict=True))
    rows = []
    for name in (BASE, PAPER, *OTHERS):
        contrast = against.get(name)
        last = ("", "") if contrast is None else (str(contrast.interval), p_value(sign_flip_p(contrast.values)))
        shared = str(interval(overlaps[name])) if name in overlaps else ""
        rows.append((name, shared, *(str(interval(accuracies[one][name])) for one in setup.splits), *last))
    raw = {
        "accuracies": accuracies,
        "overlaps": overlaps,
        "contrasts": [contrast.to_json() for contrast in claims],
    }
    columns = (
        "clip by",
        "overlap with the paper's",
        *setup.splits,
        f"{split}: {PAPER} minus this choice",
        "sign-flip p",
    )
    return Results(claims, Table(columns, rows), raw)


def _overlap(store: Store, run: Training) -> float:
    """Return the share of clip tokens that are also in the paper's clips, averaged over the steps with clips."""
    found = [row[names.ECHO_OVERLAP] for row in store.metrics(run) if row.get(names.ECHO_OVERLAP) is not None]
    return statistics.fmean(found) if found else math.nan


def draw(raw: dict[str, Any], path: Path) -> None:
    subtitle = "Clips of equal length from other steps; dots: seeds; bars: simultaneous 95 % intervals"
    forest(path, raw["contrasts"], "Does the choice of the step matter?", subtitle, "difference in accuracy")


EXPERIMENT = Experiment(
    "The choice of the step",
    "clips that end at the step of highest entropy give a higher accuracy than clips of equal length from other steps",
    runs,
    analyse,
    draw,
)
