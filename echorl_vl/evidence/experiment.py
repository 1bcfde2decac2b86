"""What an experiment is, and where the experiments are: every module of `experiments/` holds one, `EXPERIMENT`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echorl_vl.errors import UserError
from echorl_vl.evidence import experiments
from echorl_vl.evidence.statistics import SUPPORTED, Contrast, verdict_of

if TYPE_CHECKING:
    from echorl_vl.evidence.runs import Run
    from echorl_vl.evidence.setup import Setup
    from echorl_vl.evidence.store import Store


@dataclass(frozen=True)
class Table:
    """Rows of cells as text, under named columns."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Results:
    """What came of an experiment on one task.

    claims: the contrasts that the verdict rests on. others: contrasts that are reported beside them. table: for the
    documentation. raw: every number that the plot and the table are made of, seed by seed.
    """

    claims: list[Contrast]
    table: Table
    raw: dict[str, Any]
    others: list[Contrast] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        return verdict_of(self.claims)


@dataclass(frozen=True)
class Experiment:
    """title: what the plot and the documentation call it. claim: what the paper says, to follow "that".

    runs: what it needs, trainings before the measurements that look at them. analyse: numbers out of the finished
    runs. draw: a plot of the results' raw numbers (`raw`, path).
    """

    title: str
    claim: str
    runs: Callable[[Setup], list[Run]]
    analyse: Callable[[Setup, Store], Results]
    draw: Callable[[dict[str, Any], Path], None]


def experiment_names() -> list[str]:
    """Names of the experiments, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def find_experiments(names: Sequence[str]) -> dict[str, Experiment]:
    """The experiments of these names, all of them for none. Raises UserError for a name that there is not."""
    known = experiment_names()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise UserError(f"no experiment is called {name!r}; {hint}")
    wanted = list(dict.fromkeys(names)) or known
    return {name: importlib.import_module(f"{experiments.__name__}.{name}").EXPERIMENT for name in wanted}


def sentence(experiment: Experiment, results: Results, seeds: int) -> str:
    """Whether the claim is supported, in one sentence, with the numbers that say so."""
    verdict = results.verdict
    parts = []
    for contrast in results.claims:
        own = "" if len(results.claims) == 1 else f", {contrast.verdict}"
        parts.append(f"{contrast.name} = {contrast.interval}{own}")
    one = seeds == 1
    how = f"mean and interval over {seeds} seed{'' if one else 's'}"
    if missing := max((seeds - contrast.known for contrast in results.claims), default=0):
        how += f", up to {missing} without a value"
    why = "" if verdict == SUPPORTED else "; one seed gives no interval" if one else ""
    return f"That {experiment.claim} is {verdict} ({how}: {'; '.join(parts)}{why})."
