"""Which reward functions say that a completion is verified, and a word where none ever is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from echorl_vl.errors import UserError

AccuracyReward = str | int | Callable | Sequence["str | int | Callable"]
"""Name, index or the function itself of a reward function, or a list of these."""

SILENT_STEPS = 20
"""Logging steps without a verified completion until it is said."""


def find_accuracy(names: Sequence[str], wanted: AccuracyReward | None, functions: Sequence[Any] = ()) -> list[int]:
    """Indices of the reward functions that say "verified".

    Args:
        names: of the reward functions, as TRL logs them.
        wanted: None: the only function, or the only one with "accuracy" in its name.
        functions: the reward functions themselves, in the same order.

    Raises:
        UserError: `wanted` has another type or is not among the functions, or is None and nothing singles one out.
    """
    if wanted is None:
        return [_only_accuracy(names)]
    if isinstance(wanted, list | tuple):
        if not wanted:
            raise UserError(f"accuracy_reward is empty: expected one or more of {_listed(names)}")
        return sorted({_find_one(names, one, functions) for one in wanted})
    return [_find_one(names, wanted, functions)]


def names_of(functions: Sequence[Any]) -> list[str]:
    """Names of the reward functions before a model is loaded, as TRL logs them then."""
    return [_name_of(function) for function in functions]


def accuracy_of_each(rewards: Tensor, columns: Sequence[int]) -> Tensor:
    """(B,) accuracy of (B, functions) rewards: that of the function which gives one, the lowest where several do.

    NaN where none does. The lowest, since a completion that one function refuses is not verified.
    """
    chosen = rewards[:, list(columns)]
    lowest = chosen.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf).amin(1)
    return torch.where(chosen.isnan().all(1), torch.nan, lowest)


class SilenceWatch:
    """Warns once when no completion has been verified for `SILENT_STEPS` logging steps.

    chosen: names of the accuracy's functions. threshold: from which value on a completion is verified.
    """

    def __init__(self, chosen: str, threshold: float) -> None:
        self._chosen, self._threshold = chosen, threshold
        self._since: int | None = None  # optimizer step of the first batch, or of the last with a verified completion
        self._highest = -torch.inf

    def see(self, accuracies: Tensor, verified: Tensor, step: int, logging_steps: int) -> None:
        """Notes a batch of (B,) accuracies and verdicts in optimizer step `step`."""
        if self._since is None or verified.any():
            self._since = step
        self._highest = max(self._highest, accuracies.nan_to_num(nan=-torch.inf).max().item())
        steps = step - self._since
        if steps >= SILENT_STEPS * logging_steps and self._threshold < torch.inf:
            found = f"its highest value was {self._highest:g}" if self._highest > -torch.inf else "it gave no value"
            warnings.warn(
                f"no completion was verified in {steps} optimizer steps, so nothing was echoed: accuracy_reward is "
                f"{self._chosen}, {found}, and echo.verify_threshold is {self._threshold:g}",
                stacklevel=2,
            )
            self._threshold = torch.inf  # said once


def _only_accuracy(names: Sequence[str]) -> int:
    named = [index for index, name in enumerate(names) if "accuracy" in name.lower()]
    if len(named) == 1 or len(names) == 1:
        return named[0] if named else 0
    several = f"{len(named)} of them have" if named else "none has"
    raise UserError(
        f"several reward functions, and {several} accuracy in the name: expected accuracy_reward, the name, the index "
        "or the function itself that says whether the answer is correct, or a list of those (of each completion the "
        f"value counts that is not None), among {_listed(names)}"
    )


def _find_one(names: Sequence[str], wanted: Any, functions: Sequence[Any]) -> int:
    if isinstance(wanted, str):
        if names.count(wanted) != 1:
            raise UserError(f"accuracy_reward is {wanted!r}: expected one of the reward functions, {_listed(names)}")
        return names.index(wanted)
    if isinstance(wanted, Integral) and not isinstance(wanted, bool):
        wanted = int(wanted)
        if not 0 <= wanted < len(names):
            raise UserError(
                f"accuracy_reward is {wanted}: expected 0 to {len(names) - 1}, the index of one of {_listed(names)}"
            )
        return wanted
    if callable(wanted):
        places = [
            index for index, function in enumerate(functions) if function is wanted or function == wanted
        ]  # a bound method is a new object each time
        if not places:
            raise UserError(
                f"accuracy_reward is the function {_name_of(wanted)}: expected one of reward_funcs, {_listed(names)}"
            )
        return places[0]
    raise UserError(
        f"accuracy_reward is {wanted!r}: expected the name, the index or the function itself of one of "
        f"{_listed(names)}, or a list of those"
    )


def _name_of(function: Any) -> str:
    if isinstance(function, str):  # a model's path
        return function.rstrip("/").split("/")[-1]
    while isinstance(function, partial):
        function = function.func
    if hasattr(getattr(function, "config", None), "_name_or_path"):
        return function.config._name_or_path.split("/")[-1]
    return getattr(function, "__name__", type(function).__name__)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
