"""Selectors: the steps that EchoClips end with, by the name that `echo.select` gives.

A selector is a function of tensors. For the paper's, `max`, see `mining`; a new one is a function with a name, in this
file or in one of your own, which `echo.select: path.py:name` loads:

    @register_selector("longest_entropy_sum")
    def longest_entropy_sum(step_entropy, eligible, groups, config, generator):
        ...
        return rows, steps, weights

P groups, B rollouts, S steps, C clips. No Python loop over tokens, rows or steps.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from .groups import group_reduce

if TYPE_CHECKING:
    from .config import EchoConfig

Chosen = tuple[Tensor, Tensor, Tensor]
"""rows (C,) int64, steps (C,) int64, weights (C,) float: the chosen steps, in any order, and what each clip weighs."""


class SelectorError(ValueError):
    """A selector failed, or answered with something else than eligible steps."""


class Selector(Protocol):
    """What `echo.select` names."""

    stream: str
    """Name of its random numbers: engines seed a generator for each training step by it."""

    def __call__(
        self,
        step_entropy: Tensor,
        eligible: Tensor,
        groups: Tensor,
        config: EchoConfig,
        generator: torch.Generator,
    ) -> Chosen:
        """Chooses steps.

        Args:
            step_entropy: (B, S) float32, nats, S >= 1: the mean entropy of each step; meaningless where not eligible.
            eligible: (B, S) bool, the steps that may be chosen.
            groups: (B,) int64, the group of each rollout, 0 .. P-1.
            config: for the options of the selector.
            generator: of this training step alone, on the CPU as a rule.

        Returns:
            Eligible steps, each once. The clips of a group weigh 1 together, or less.
        """


SELECTORS: dict[str, Selector] = {}


def register_selector(name: str, stream: str | None = None) -> Callable[[Callable[..., Chosen]], Selector]:
    """Decorator: `echo.select: name` means this function.

    Args:
        name: a name that no other selector has.
        stream: see `Selector`; None names it after the selector.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: Callable[..., Chosen]) -> Selector:
        if name in SELECTORS:
            raise ValueError(f"there is a selector called {name!r} already; expected another name")
        function.stream = stream or f"clip at the {name} step"
        SELECTORS[name] = function
        return function

    return register


def find_selector(select: str) -> Selector:
    """The selector that `echo.select` names: a registered name, or `path.py:name`, which runs the file first (once).

    Raises:
        ValueError: there is none of this name, or no such file.
    """
    if select in SELECTORS:
        return SELECTORS[select]
    path, _, name = select.rpartition(":")
    if not path.endswith(".py"):
        hint = f"; expected {select}:NAME for one that this file registers" if select.endswith(".py") else ""
        raise ValueError(f"expected one of {', '.join(SELECTORS)}, or path.py:name of one of your own{hint}")
    if not Path(path).is_file():
        raise ValueError(f"expected a file of Python, got {path}, which is none")
    registered = _registered_by(Path(path).resolve())
    if name not in registered:
        names = ", ".join(registered) or "none"
        raise ValueError(f"expected a selector that {path} registers, got {name!r}; it registers {names}")
    return registered[name]


_FILES: dict[Path, dict[str, Selector]] = {}


def _registered_by(path: Path) -> dict[str, Selector]:
    """Runs a file, once in a process: name -> selector of those that it registers."""
    if path not in _FILES:
        before = set(SELECTORS)
        specification = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(specification)
        try:
            specification.loader.exec_module(module)
        except Exception as error:
            raise ValueError(f"{path} can't be run: {type(error).__name__}: {error}") from error
        _FILES[path] = {name: SELECTORS[name] for name in SELECTORS.keys() - before}
    return _FILES[path]


@register_selector("max")
def highest(step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator) -> Chosen:
    """The step of highest entropy of each group (the paper). Ties go to the first rollout, then to its first step."""
    return _best(step_entropy, eligible, groups)


@register_selector("topk")
def k_highest(step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator) -> Chosen:
    """The `echo.k` steps of highest entropy, each of weight 1/k; fewer steps make fewer clips, so less weight."""
    rows, steps, sizes = _ranked(step_entropy, eligible, groups)
    place = torch.arange(len(rows), device=rows.device) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    chosen = place < config.k
    return rows[chosen], steps[chosen], torch.full_like(rows[chosen], 1.0 / config.k, dtype=torch.float32)


@register_selector("softmax", stream="echo")
def by_softmax(
    step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator: torch.Generator
) -> Chosen:
    """A step sampled with probability softmax(entropy / `echo.tau`) over the group's steps.

    Gumbel noise is added to entropy / tau, and the maximum has that distribution (Gumbel-max).
    """
    noise = torch.empty(step_entropy.shape, dtype=torch.float64, device=generator.device)
    noise = -noise.exponential_(generator=generator).log_()
    return _best(step_entropy.double() / config.tau + noise.to(step_entropy.device), eligible, groups)


@register_selector("quantile")
def at_quantile(step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator) -> Chosen:
    """The step at `echo.quantile` of the group's step entropies: 1 is the highest, 0.5 the median, 0 the lowest.

    Of n steps the one of rank q (n - 1) from below, rounded, halves up. Ties as in `max`.
    """
    rows, steps, sizes = _ranked(step_entropy, eligible, groups)
    rank = (config.quantile * (sizes - 1).double() + 0.5).floor().long()
    place = sizes.cumsum(0) - 1 - rank
    rows, steps = rows[place], steps[place]
    wanted = torch.full((len(groups),), torch.nan, dtype=step_entropy.dtype, device=step_entropy.device)
    wanted[groups[rows]] = step_entropy[rows, steps]  # by group
    return _alone(*_pick(eligible & (step_entropy == wanted[groups, None]), groups))


@register_selector("lowest")
def lowest(step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator) -> Chosen:
    """The step of lowest entropy. Ties as in `max`."""
    return _best(-step_entropy, eligible, groups)


@register_selector("random")
def any_step(
    step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator: torch.Generator
) -> Chosen:
    """Any step of the group, all equally likely."""
    return _alone(*_pick(eligible, groups, generator))


@register_selector("first")
def first_step(
    step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator: torch.Generator
) -> Chosen:
    """The first eligible step of one of the group's rollouts, all equally likely."""
    rows, _ = _pick(eligible.any(1, keepdim=True), groups, generator)
    return _alone(rows, eligible[rows].long().argmax(1))  # argmax() gives the first of equals


@register_selector("last")
def last_step(
    step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator: torch.Generator
) -> Chosen:
    """The last eligible step of one of the group's rollouts, all equally likely; as a rule it states the answer."""
    rows, _ = _pick(eligible.any(1, keepdim=True), groups, generator)
    return _alone(rows, eligible.shape[1] - 1 - eligible[rows].flip(1).long().argmax(1))


def _alone(rows: Tensor, steps: Tensor) -> Chosen:
    """One clip a group, which has all of its weight."""
    return rows, steps, torch.ones_like(rows, dtype=torch.float32)


def _best(score: Tensor, eligible: Tensor, groups: Tensor) -> Chosen:
    """The eligible step of each group with the highest score (B, S), the first of equal ones."""
    of_rows = score.masked_fill(~eligible, -torch.inf).amax(1)
    best = group_reduce(of_rows, groups, len(groups), "amax")[groups, None]
    return _alone(*_pick(eligible & (score == best), groups))


def _pick(wanted: Tensor, groups: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Row and step of one wanted step (B, S) of each group that has any, in order of group.

    The first in order of row, then step; with a generator any of them, all equally likely.
    """
    rows, steps = wanted.nonzero(as_tuple=True)
    order = groups[rows].argsort(stable=True)
    sizes = groups[rows].unique(return_counts=True)[1]
    place = sizes.cumsum(0) - sizes
    if generator is not None:  # a draw for each group: torch has none with a bound for each element
        draws = (torch.randint(size, (), generator=generator, device=generator.device) for size in sizes.tolist())
        place = place + torch.tensor([int(draw) for draw in draws], dtype=torch.long, device=place.device)
    chosen = order[place]
    return rows[chosen], steps[chosen]


def _ranked(score: Tensor, eligible: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and steps (N,) of all eligible steps by group, highest score first, and how many each group has (G,).

    Equal scores stay in order of row, then step. Groups without an eligible step are left out.
    """
    rows, steps = eligible.nonzero(as_tuple=True)
    order = score[rows, steps].argsort(descending=True, stable=True)
    order = order[groups[rows[order]].argsort(stable=True)]
    return rows[order], steps[order], groups[rows].unique(return_counts=True)[1]
