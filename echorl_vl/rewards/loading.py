"""Find and load the user's reward function, `path/to/file.py:function`, the way EasyR1 does: in worker processes only.

What a user's file does when it is imported can hang, exit or start processes, so the caller never imports it.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.rewards.failures import described
from echorl_vl.rewards.interface import TYPES, Row, call, check_arguments, older_type

LARGE = 10**6  # as `config.limits.LARGE`, whose import would cost each worker seconds
MODULE_NAME = "custom_reward_fn"  # EasyR1's name for it, so that a file that looks itself up finds itself


@dataclass
class UserReward:
    """A reward function by reference: path, name and keyword arguments travel to the workers, code does not.

    As the function of a `GradingPool` it takes (task, rows), where the task is the name of a method: `score`, `quick`,
    `score_as_other_type` or `describe`.
    """

    path: str
    name: str
    kwargs: dict[str, Any]
    _module: ModuleType | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, reference: str, kwargs: dict[str, Any] | None) -> UserReward:
        """Split `file.py:function`; the function is `main` where none is named."""
        path, separator, name = reference.rpartition(":")
        if not separator or not name.isidentifier():
            path, name = reference, "main"
        return cls(path, name, dict(kwargs or {}))

    def find(self) -> None:
        """Raise UserError where there is no such file, without running it."""
        path = Path(self.path)
        if not path.is_file():
            near = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.py")])
            hint = f"; nearest in that folder: {', '.join(near)}" if near else ""
            raise UserError(f"reward_function: {self.path}: no such file{hint}")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name, "kwargs": self.kwargs, "_module": None}

    @property
    def module(self) -> ModuleType:
        if self._module is None:
            self._module = load_file(self.path)
        return self._module

    @property
    def kind(self) -> str:
        """REWARD_TYPE of the file; where it has none, "batch", or what the arguments of an older interface say."""
        kind = getattr(self.module, "REWARD_TYPE", older_type(self.function) or "batch")
        if kind not in TYPES:
            raise UserError(f"{self.path}: REWARD_TYPE: found {kind!r}, wanted one of {', '.join(TYPES)}")
        return kind

    @property
    def function(self) -> Callable[..., Any]:
        function = getattr(self.module, self.name, None)
        if callable(function):
            return function
        names = [name for name, value in vars(self.module).items() if callable(value) and not name.startswith("_")]
        own = [name for name in names if getattr(getattr(self.module, name), "__module__", "") == self.module.__name__]
        near = difflib.get_close_matches(self.name, names) or own
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise UserError(f"{self.path}: no function {self.name!r} in it{hint}. Name it as {self.path}:<function>.")

    def describe(self, rows: list[Row]) -> dict[str, Any]:
        """What a manager has to know: the file's REWARD_NAME, its type, and whether it has a `quick_score`."""
        name = str(getattr(self.module, "REWARD_NAME", "unknown"))
        return {"name": name, "kind": self.kind, "quick": self._optional("quick_score") is not None}

    def warm_up(self) -> None:
        """Load the file, and call its own `warm_up()` if it has one. Runs in each worker before its first row.

        Raises UserError unless file, function, type and keyword arguments fit together.
        """
        check_arguments(self.function, self.kwargs, f"{self.path}:{self.name}")
        self.kind  # noqa: B018  (raises for another REWARD_TYPE)
        self._optional("quick_score")
        if warm_up := self._optional("warm_up"):
            warm_up()

    def _optional(self, name: str) -> Callable[..., Any] | None:
        """A function that a file may have; None stands for none. Raises UserError where it is no function."""
        value = getattr(self.module, name, None)
        if value is None or callable(value):
            return value
        raise UserError(f"{self.path}: {name}: expected a function, got {_kind(value)}")

    def __call__(self, request: tuple[str, list[Row]]) -> Any:
        task, rows = request
        return getattr(self, task)(rows)

    def score(self, rows: list[Row]) -> list[dict[str, float]]:
        """The scores of rows as plain dicts of floats; by `quick_score` where there is one and it decides."""
        if self._optional("quick_score") is None:
            return self._checked(rows, self.kind)
        return [self.quick([row])[0] or self._checked([row], self.kind)[0] for row in rows]

    def quick(self, rows: list[Row]) -> list[dict[str, float] | None]:
        """The scores by `quick_score`; None where it does not decide."""
        scores = [self.module.quick_score(row, **self.kwargs) for row in rows]
        return [None if score is None else checked_score(score) for score in scores]

    def score_as_other_type(self, rows: list[Row]) -> list[dict[str, float]]:
        """`score` as if REWARD_TYPE were the other one: where this works and `score` does not, it should be."""
        # A response of one character would do for a list with one response.
        rows = [{**row, "response": row["response"] * (2 if len(row["response"]) == 1 else 1)} for row in rows]
        return self._checked(rows, "batch" if self.kind == "sequential" else "sequential")

    def _checked(self, rows: list[Row], kind: str) -> list[dict[str, float]]:
        scores = call(self.function, kind, rows, self.kwargs)
        if not isinstance(scores, (list, tuple)):
            raise BadScore(f"a batch function has to return a list of dicts, found {_kind(scores)}")
        if len(scores) != len(rows):
            raise BadScore(f"got {len(rows)} rows and returned {len(scores)} scores")
        return [checked_score(score) for score in scores]


class BadScore(ValueError):
    """A reward function returned something that is not a score."""


def load_file(path: str) -> ModuleType:
    """Run a Python file as a module. Raises UserError where it fails."""
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise UserError(f"reward_function: {path}: not a Python file (wanted a name that ends in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # SystemExit too
        raise UserError(f"reward_function: {path}: loading it failed with {described(error)}") from error
    return module


def checked_score(score: Any) -> dict[str, float]:
    """A score as a dict of floats with `overall`, none beyond what advantages can be computed of. Raises BadScore."""
    if not isinstance(score, dict):
        raise BadScore(f'a score has to be a dict with "overall", found {_kind(score)}')
    if "overall" not in score:
        raise BadScore(f'a score has to have "overall", found the keys {sorted(map(str, score))}')
    plain = {}
    for key, value in score.items():
        if value is None and key != "overall":
            continue  # EasyR1 allows None for a part that does not apply
        try:
            if isinstance(value, (str, bytes, bytearray)):  # float() reads those too
                raise TypeError
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise BadScore(f"{key}: found {_kind(value)}, wanted a number") from None
        if not math.isfinite(number):
            raise BadScore(f"{key}: found {number}, wanted a finite number")
        if abs(number) > LARGE:
            raise BadScore(f"{key}: expected a number from {-LARGE} to {LARGE}, got {number:g}")
        if key == "accuracy" and not 0 <= number <= 1:
            raise BadScore(f"accuracy: expected 0 (wrong) to 1 (right), got {number:g}")
        plain[str(key)] = number
    return plain


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {repr(value)[:80]}"
