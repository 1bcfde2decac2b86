"""The reward functions that verify completions, and a warning if they never verify any."""

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
"""A reward function, its name or its index, or a list of these."""

UNVERIFIED_STEPS = 20
"""Logging steps without a verified completion after which a warning is shown."""


def find_accuracy(
    names: Sequence[str], accuracy_reward: AccuracyReward | None, functions: Sequence[Any] = ()
) -> list[int]:
    """Return the indices of the reward functions that verify completions.

    Args:
        names: names of the reward functions, as TRL logs them.
        accuracy_reward: selects the functions. None: the only function, or the only one with "accuracy" in its name.
        functions: the reward functions, in the same order.

    Raises:
        UserError: `accuracy_reward` has another type or is not one of the functions, or it is None and the function
            is ambiguous.
    """
    if accuracy_reward is None:
        return [_only_accuracy(names)]
    if isinstance(accuracy_reward, list | tuple):
        if not accuracy_reward:
            raise UserError(f"accuracy_reward is empty: expected one or more of {_listed(names)}")
        return sorted({_find_one(names, item, functions) for item in accuracy_reward})
    return [_find_one(names, accuracy_reward, functions)]


def reward_names(functions: Sequence[Any]) -> list[str]:
    """Return the names under which TRL will log reward functions, before it loads a model."""
    return [_name_of(function) for function in functions]


def completion_accuracies(rewards: Tensor, columns: Sequence[int]) -> Tensor:
    """Compute the accuracy of each completion.

    Args:
        rewards: (B, functions) rewards; NaN where a function returned None.
        columns: the functions that verify completions.

    Returns:
        (B,) the lowest value of these functions, NaN if all returned None. The lowest, because a completion that one
        of the functions rejects is not verified.
    """
    selected = rewards[:, list(columns)]
    lowest = selected.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf).amin(1)
    return torch.where(selected.isnan().all(1), torch.nan, lowest)


class VerificationMonitor:
    """Warns once if no completion is verified for `UNVERIFIED_STEPS` logging steps.

    Args:
        accuracy_reward: names of the reward functions that verify completions.
        threshold: minimum accuracy of a verified completion.
    """

    def __init__(self, accuracy_reward: str, threshold: float) -> None:
        self._accuracy_reward, self._threshold = accuracy_reward, threshold
        self._since: int | None = None  # optimizer step of the first batch, or of the last with a verified completion
        self._highest = -torch.inf
        self._has_warned = False

    def update(self, accuracies: Tensor, verified: Tensor, step: int, logging_steps: int) -> None:
        """Record the accuracies (B,) and verified flags (B,) of a batch in optimizer step `step`."""
        if self._since is None or verified.any():
            self._since = step
        self._highest = max(self._highest, accuracies.nan_to_num(nan=-torch.inf).max().item())
        steps = step - self._since
        if steps >= UNVERIFIED_STEPS * logging_steps and not self._has_warned:
            self._has_warned = True
            values = f"its highest value was {self._highest:g}" if self._highest > -torch.inf else "it gave no value"
            warnings.warn(
                f"no completion was verified in {steps} optimizer steps, so the echo term had no clips: "
                f"accuracy_reward is {self._accuracy_reward}, {values}, and echo.verify_threshold is "
                f"{self._threshold:g}",
                stacklevel=2,
            )


def _only_accuracy(names: Sequence[str]) -> int:
    named = [index for index, name in enumerate(names) if "accuracy" in name.lower()]
    if len(named) == 1 or len(names) == 1:
        return named[0] if named else 0
    several = f"{len(named)} of them have" if named else "none has"
    raise UserError(
        f"there are several reward functions, and {several} accuracy in the name: set accuracy_reward to the function "
        "that verifies answers, its name or its index, or to a list of these (for functions that return None for "
        f"completions of other tasks); the reward functions are {_listed(names)}"
    )


def _find_one(names: Sequence[str], item: Any, functions: Sequence[Any]) -> int:
    if isinstance(item, str):
        if names.count(item) != 1:
            raise UserError(f"accuracy_reward is {item!r}: expected one of the reward functions, {_listed(names)}")
        return names.index(item)
    if isinstance(item, Integral) and not isinstance(item, bool):
        if not 0 <= item < len(names):
            raise UserError(
                f"accuracy_reward is {int(item)}: expected 0 to {len(names) - 1}, the index of one of {_listed(names)}"
            )
        return int(item)
    if callable(item):
        # == as well, because each access to a bound method creates a new object
        indices = [index for index, function in enumerate(functions) if function is item or function == item]
        if not indices:
            raise UserError(
                f"accuracy_reward is the function {_name_of(item)}: expected one of reward_funcs, {_listed(names)}"
            )
        return indices[0]
    raise UserError(
        f"accuracy_reward is {item!r}: expected one of the reward functions, its name or its index "
        f"({_listed(names)}), or a list of these"
    )


def _name_of(function: Any) -> str:
    if isinstance(function, str):  # path of a reward model
        return function.rstrip("/").split("/")[-1]
    while isinstance(function, partial):
        function = function.func
    if hasattr(getattr(function, "config", None), "_name_or_path"):
        return function.config._name_or_path.split("/")[-1]
    return getattr(function, "__name__", type(function).__name__)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
