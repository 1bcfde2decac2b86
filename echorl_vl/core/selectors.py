"""Selectors: rules that choose the steps at which EchoClips end; `echo.select` names one.

A selector is a function of tensors. The paper's is `max` (see `mining`). To add one, register a function in this file,
or in your own file and load it with `echo.select: path.py:name`:

    @register_selector("longest_entropy_sum")
    def longest_entropy_sum(step_entropy, eligible, groups, config, generator):
        ...
        return rows, steps, weights

Shapes: P groups, B rollouts, S steps, C clips. There is no Python loop over tokens, rows or steps.
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
"""rows (C,) int64, steps (C,) int64, weights (C,) float: the chosen steps in any order, and the weight of each clip."""


class SelectorError(ValueError):
    """A selector raised an error or returned anything but eligible steps."""


class Selector(Protocol):
    """A rule that chooses steps; `echo.select` names one."""

    stream: str
    """Purpose of its random numbers; engines seed one generator per training step with it (`seeds.step_generator`)."""

    def __call__(
        self,
        step_entropy: Tensor,
        eligible: Tensor,
        groups: Tensor,
        config: EchoConfig,
        generator: torch.Generator,
    ) -> Chosen:
        """Choose steps.

        Args:
            step_entropy: (B, S) float32, nats, S >= 1: mean entropy of each step; undefined where not eligible.
            eligible: (B, S) bool, the steps that may be chosen.
            groups: (B,) int64, the group of each rollout, 0 .. P-1.
            config: options of the selector.
            generator: random numbers of this training step, usually on the CPU.

        Returns:
            Eligible steps, each at most once. The weights of the clips of a group add up to at most 1.
        """


SELECTORS: dict[str, Selector] = {}


def register_selector(name: str, stream: str | None = None) -> Callable[[Callable[..., Chosen]], Selector]:
    """Decorator that registers a selector as `echo.select: name`.

    Args:
        name: name of the selector.
        stream: see `Selector`; None: derived from the name.

    Raises:
        ValueError: another selector has this name.
    """

    def register(function: Callable[..., Chosen]) -> Selector:
        if name in SELECTORS:
            raise ValueError(f"a selector named {name!r} already exists; expected another name")
        function.stream = stream or f"clip at the {name} step"
        SELECTORS[name] = function
        return function

    return register


def find_selector(select: str) -> Selector:
    """Return the selector that `echo.select` names.

    Args:
        select: a registered name, or `path.py:name`, which first runs the file (once per process).

    Raises:
        ValueError: no such selector or file, or the file raises an error.
    """
    if select in SELECTORS:
        return SELECTORS[select]
    path, _, name = select.rpartition(":")
    if not path.endswith(".py"):
        hint = f"; expected {select}:NAME for a selector of this file" if select.endswith(".py") else ""
        raise ValueError(f"expected one of {', '.join(SELECTORS)}, or path.py:name of your own selector{hint}")
    if not Path(path).is_file():
        raise ValueError(f"expected a Python file, got {path}, which does not exist")
    registered = _registered_by(Path(path).resolve())
    if name not in registered:
        names = ", ".join(registered) or "none"
        raise ValueError(f"expected a selector that {path} registers, got {name!r}; it registers {names}")
    return registered[name]


_FILES: dict[Path, dict[str, Selector]] = {}


def _registered_by(path: Path) -> dict[str, Selector]:
    """Run a file, once per process, and return the selectors that it registers, by name."""
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
    """The step of highest entropy in each group (the paper). Ties go to the first rollout, then to its first step."""
    return _best(step_entropy, eligible, groups)


@register_selector("topk")
def k_highest(step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator) -> Chosen:
    """The `echo.k` steps of highest entropy in each group, each of weight 1/k, also if the group has fewer steps."""
    rows, steps, sizes = _ranked(step_entropy, eligible, groups)
    place = torch.arange(len(rows), device=rows.device) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    chosen = place < config.k
    return rows[chosen], steps[chosen], torch.full_like(rows[chosen], 1.0 / config.k, dtype=torch.float32)


@register_selector("softmax", stream="echo")
def by_softmax(
    step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator: torch.Generator
) -> Chosen:
    """A step sampled with probability softmax(entropy / `echo.tau`) over the steps of the group.

    Uses the Gumbel-max trick: the maximum of entropy / tau plus Gumbel noise has this distribution.
    """
    noise = torch.empty(step_entropy.shape, dtype=torch.float64, device=generator.device)
    noise = -noise.exponential_(generator=generator).log_()
    return _best(step_entropy.double() / config.tau + noise.to(step_entropy.device), eligible, groups)


@register_selector("quantile")
def at_quantile(step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator) -> Chosen:
    """The step at quantile q = `echo.quantile` of the group's step entropies: 1 is the highest, 0.5 the median, 0 the
    lowest.

    Of n steps in ascending order, counted from 0, it is step q (n - 1), rounded half up. Ties as in `max`.
    """
    rows, steps, sizes = _ranked(step_entropy, eligible, groups)
    rank = (config.quantile * (sizes - 1).double() + 0.5).floor().long()
    place = sizes.cumsum(0) - 1 - rank
    rows, steps = rows[place], steps[place]
    target = torch.full((len(groups),), torch.nan, dtype=step_entropy.dtype, device=step_entropy.device)
    target[groups[rows]] = step_entropy[rows, steps]  # by group
    return _single(*_pick(eligible & (step_entropy == target[groups, None]), groups))


@register_selector("lowest")
def lowest(step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator) -> Chosen:
    """The step of lowest entropy in each group. Ties as in `max`."""
    return _best(-step_entropy, eligible, groups)


@register_selector("random")
def any_step(
    step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator: torch.Generator
) -> Chosen:
    """A step of the group, uniformly at random."""
    return _single(*_pick(eligible, groups, generator))


@register_selector("first")
def first_step(
    step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator: torch.Generator
) -> Chosen:
    """The first eligible step of a rollout of the group, which is chosen uniformly at random."""
    rows, _ = _pick(eligible.any(1, keepdim=True), groups, generator)
    return _single(rows, eligible[rows].long().argmax(1))  # argmax() returns the first maximum


@register_selector("last")
def last_step(
    step_entropy: Tensor, eligible: Tensor, groups: Tensor, config: EchoConfig, generator: torch.Generator
) -> Chosen:
    """The last eligible step, usually the answer, of a rollout of the group, which is chosen uniformly at random."""
    rows, _ = _pick(eligible.any(1, keepdim=True), groups, generator)
    return _single(rows, eligible.shape[1] - 1 - eligible[rows].flip(1).long().argmax(1))


def _single(rows: Tensor, steps: Tensor) -> Chosen:
    """One clip of weight 1 per group."""
    return rows, steps, torch.ones_like(rows, dtype=torch.float32)


def _best(score: Tensor, eligible: Tensor, groups: Tensor) -> Chosen:
    """The first eligible step of each group with the highest score (B, S)."""
    row_best = score.masked_fill(~eligible, -torch.inf).amax(1)
    best = group_reduce(row_best, groups, len(groups), "amax")[groups, None]
    return _single(*_pick(eligible & (score == best), groups))


def _pick(mask: Tensor, groups: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Return the row and step of one step in `mask` (B, S) for each group that has any, in order of group.

    It is the first by row, then step; with a generator, one chosen uniformly at random.
    """
    rows, steps = mask.nonzero(as_tuple=True)
    order = groups[rows].argsort(stable=True)
    sizes = groups[rows].unique(return_counts=True)[1]
    place = sizes.cumsum(0) - sizes
    if generator is not None:  # one call per group, because torch.randint takes one bound for all elements
        draws = (torch.randint(size, (), generator=generator, device=generator.device) for size in sizes.tolist())
        place = place + torch.tensor([int(draw) for draw in draws], dtype=torch.long, device=place.device)
    chosen = order[place]
    return rows[chosen], steps[chosen]


def _ranked(score: Tensor, eligible: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows and steps (N,) of all eligible steps by group, highest score first, and each group's number of steps.

    Equal scores stay in order of row, then step. Groups without an eligible step are left out.
    """
    rows, steps = eligible.nonzero(as_tuple=True)
    order = score[rows, steps].argsort(descending=True, stable=True)
    order = order[groups[rows[order]].argsort(stable=True)]
    return rows[order], steps[order], groups[rows].unique(return_counts=True)[1]
