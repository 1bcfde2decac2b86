"""Find and load a user's reward function, `path/to/file.py:function`, as EasyR1 does, but only in worker processes.

Importing a user's file may hang, exit or start processes, so the caller never imports it.
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

from echorl_vl.errors import UserError, counted
from echorl_vl.rewards.failures import describe_error
from echorl_vl.rewards.interface import TYPES, Row, call, check_arguments, legacy_type

LARGE = 10**6  # as `config.limits.LARGE`, whose import would cost each worker seconds
MODULE_NAME = "custom_reward_fn"  # as in EasyR1, for files that look themselves up in sys.modules


@dataclass
class UserReward:
    """A reward function by reference: workers get the path, name and keyword arguments, not the code.

    As the function of a `GradingPool` it takes (task, rows). The task names a method: `score`, `quick`,
    `score_as_other_type` or `describe`.
    """

    path: str
    name: str
    kwargs: dict[str, Any]
    _module: ModuleType | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, reference: str, kwargs: dict[str, Any] | None) -> UserReward:
        """Parse `file.py:function`; the function defaults to `main`."""
        path, separator, name = reference.rpartition(":")
        if not separator or not name.isidentifier():
            path, name = reference, "main"
        return cls(path, name, dict(kwargs or {}))

    def find(self) -> None:
        """Raise UserError if the file does not exist. Does not run it."""
        path = Path(self.path)
        if not path.is_file():
            near = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.py")])
            hint = f"; similar names in this folder: {', '.join(near)}" if near else ""
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
        """REWARD_TYPE of the file. The default is "batch", or the type of an older interface."""
        kind = getattr(self.module, "REWARD_TYPE", legacy_type(self.function) or "batch")
        if kind not in TYPES:
            raise UserError(f"{self.path}: REWARD_TYPE: expected one of {', '.join(TYPES)}, got {kind!r}")
        return kind

    @property
    def function(self) -> Callable[..., Any]:
        function = getattr(self.module, self.name, None)
        if callable(function):
            return function
        names = [name for name, value in vars(self.module).items() if callable(value) and not name.startswith("_")]
        own = [name for name in names if getattr(getattr(self.module, name), "__module__", "") == self.module.__name__]
        near = difflib.get_close_matches(self.name, names) or own
        hint = f"; it has {', '.join(near)}" if near else ""
        raise UserError(f"{self.path}: no function {self.name!r}{hint}. Name one as {self.path}:<function>.")

    def describe(self, rows: list[Row]) -> dict[str, Any]:
        """REWARD_NAME and type of the file, and whether it has a `quick_score`."""
        name = str(getattr(self.module, "REWARD_NAME", "unknown"))
        return {"name": name, "kind": self.kind, "quick": self._optional("quick_score") is not None}

    def warm_up(self) -> None:
        """Load and check the file, and call its `warm_up()` if it has one. Runs in each worker before its first row.

        Raises:
            UserError: the file fails to load, or its function, type or keyword arguments are invalid.
        """
        check_arguments(self.function, self.kwargs, f"{self.path}:{self.name}")
        self.kind  # noqa: B018  (raises for an unknown REWARD_TYPE)
        self._optional("quick_score")
        if warm_up := self._optional("warm_up"):
            warm_up()

    def _optional(self, name: str) -> Callable[..., Any] | None:
        """An optional function of the file, None if it is missing or None. Raises UserError if it is not callable."""
        value = getattr(self.module, name, None)
        if value is None or callable(value):
            return value
        raise UserError(f"{self.path}: {name}: expected a function, got {_type_and_value(value)}")

    def __call__(self, request: tuple[str, list[Row]]) -> Any:
        task, rows = request
        return getattr(self, task)(rows)

    def score(self, rows: list[Row]) -> list[dict[str, float]]:
        """Scores of rows as dicts of floats, by `quick_score` where the file has one that decides."""
        if self._optional("quick_score") is None:
            return self._checked(rows, self.kind)
        return [self.quick([row])[0] or self._checked([row], self.kind)[0] for row in rows]

    def quick(self, rows: list[Row]) -> list[dict[str, float] | None]:
        """Scores by `quick_score`, None for rows that it does not decide."""
        scores = [self.module.quick_score(row, **self.kwargs) for row in rows]
        return [None if score is None else checked_score(score) for score in scores]

    def score_as_other_type(self, rows: list[Row]) -> list[dict[str, float]]:
        """`score` with the other REWARD_TYPE. If this works and `score` fails, the file has the incorrect type."""
        # A response of one character could pass for a list of one response.
        rows = [{**row, "response": row["response"] * (2 if len(row["response"]) == 1 else 1)} for row in rows]
        return self._checked(rows, "batch" if self.kind == "sequential" else "sequential")

    def _checked(self, rows: list[Row], kind: str) -> list[dict[str, float]]:
        scores = call(self.function, kind, rows, self.kwargs)
        if not isinstance(scores, (list, tuple)):
            raise BadScore(f"expected a list of dicts from a batch function, got {_type_and_value(scores)}")
        if len(scores) != len(rows):
            raise BadScore(f"expected one score per row, got {len(scores)} for {counted(len(rows), 'row')}")
        return [checked_score(score) for score in scores]


class BadScore(ValueError):
    """A reward function returned an invalid score."""


def load_file(path: str) -> ModuleType:
    """Run a Python file as a module. Raises UserError if that fails."""
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise UserError(f"reward_function: {path}: expected a Python file, with the suffix .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # SystemExit too
        raise UserError(f"reward_function: {path}: loading it failed with {describe_error(error)}") from error
    return module


def checked_score(score: Any) -> dict[str, float]:
    """A score as a dict of finite floats of at most `LARGE`, with "overall". Raises BadScore for anything else."""
    if not isinstance(score, dict):
        raise BadScore(f'expected a dict with "overall", got {_type_and_value(score)}')
    if "overall" not in score:
        raise BadScore(f'expected a score with "overall", got the keys {sorted(map(str, score))}')
    plain = {}
    for key, value in score.items():
        if value is None and key != "overall":
            continue  # EasyR1 allows None for a part that does not apply to the row
        try:
            if isinstance(value, (str, bytes, bytearray)):  # float() would parse them
                raise TypeError
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise BadScore(f"{key}: expected a number, got {_type_and_value(value)}") from None
        if not math.isfinite(number):
            raise BadScore(f"{key}: expected a finite number, got {number}")
        if abs(number) > LARGE:
            raise BadScore(f"{key}: expected a number from {-LARGE} to {LARGE}, got {number:g}")
        if key == "accuracy" and not 0 <= number <= 1:
            raise BadScore(f"accuracy: expected 0 (incorrect) to 1 (correct), got {number:g}")
        plain[str(key)] = number
    return plain


def _type_and_value(value: Any) -> str:
    return f"{type(value).__name__} {repr(value)[:80]}"
