"""The interface of an experiment. Every module of `experiments/` defines one, `EXPERIMENT`."""

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
    """A table of text with named columns."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Results:
    """The results of an experiment on one task.

    Attributes:
        claims: contrasts that decide the verdict.
        table: table for the documentation.
        raw: all numbers of the plot and the table, by seed.
        others: contrasts that are reported but don't decide the verdict.
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
    """One experiment.

    Attributes:
        title: name in plots and documentation.
        claim: the paper's claim, as a sentence.
        runs: returns the required runs, with training runs before the measurements of their policies.
        analyse: computes the results from finished runs.
        draw: plots `Results.raw` to a file.
    """

    title: str
    claim: str
    runs: Callable[[Setup], list[Run]]
    analyse: Callable[[Setup, Store], Results]
    draw: Callable[[dict[str, Any], Path], None]


def experiment_names() -> list[str]:
    """Return the names of all experiments, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def find_experiments(names: Sequence[str]) -> dict[str, Experiment]:
    """Return the named experiments, by default all of them. Raises UserError for an unknown name."""
    known = experiment_names()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise UserError(f"no experiment is called {name!r}; {hint}")
    selected = list(dict.fromkeys(names)) or known
    return {name: importlib.import_module(f"{experiments.__name__}.{name}").EXPERIMENT for name in selected}


def sentence(experiment: Experiment, results: Results, seeds: int) -> str:
    """Return the claim and its verdict in one sentence, with the numbers."""
    verdict = results.verdict
    parts = []
    for contrast in results.claims:
        its_verdict = "" if len(results.claims) == 1 else f", {contrast.verdict}"
        parts.append(f"{contrast.name} = {contrast.interval}{its_verdict}")
    one = seeds == 1
    how = f"mean and interval over {seeds} seed{'' if one else 's'}"
    if missing := max((seeds - contrast.known for contrast in results.claims), default=0):
        how += f", up to {missing} without a value"
    why = "" if verdict == SUPPORTED else "; one seed gives no interval" if one else ""
    return f"The claim that {experiment.claim} is {verdict} ({how}: {'; '.join(parts)}{why})."
