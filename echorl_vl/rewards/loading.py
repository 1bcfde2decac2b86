"""Find and load the user's reward function, `path/to/file.py:function`, the way EasyR1 does."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from echorl_vl.errors import UserError

MODULE_NAME = "custom_reward_fn"  # EasyR1's name for it, so that a file that looks itself up finds itself
TYPES = ("batch", "sequential")


@dataclass
class UserReward:
    """A reward function by reference: path, name and keyword arguments travel to the workers, code does not.

    Calling it takes a list of rows (batch and sequential alike) and returns their scores as plain dicts of floats.
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

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name, "kwargs": self.kwargs, "_module": None}

    @property
    def module(self) -> ModuleType:
        if self._module is None:
            self._module = load_file(self.path)
        return self._module

    @property
    def kind(self) -> str:
        """REWARD_TYPE of the file: "batch" (the default) or "sequential"."""
        kind = getattr(self.module, "REWARD_TYPE", "batch")
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

    def check(self) -> None:
        """Raise UserError unless file, function, type and keyword arguments fit together."""
        function, kind = self.function, self.kind
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # a callable without a signature: the first call will tell
            return
        argument: Any = [] if kind == "batch" else {}
        try:
            signature.bind(argument, **self.kwargs)
        except TypeError as error:
            wanted = ", ".join(list(signature.parameters)[1:]) or "none"
            raise UserError(
                f"{self.path}:{self.name}: reward_function_kwargs {self.kwargs}: {error}. "
                f"Keyword arguments that it has: {wanted}."
            ) from None

    def warm_up(self) -> None:
        """Load the file, and call its own `warm_up()` if it has one. Runs in each worker before its first row."""
        self.function  # noqa: B018  (loads, and raises where the function is missing)
        getattr(self.module, "warm_up", lambda: None)()

    def __call__(self, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
        if self.kind == "sequential":
            scores = [self.function(row, **self.kwargs) for row in rows]
        else:
            scores = self.function(rows, **self.kwargs)
            if not isinstance(scores, (list, tuple)):
                raise BadScore(f"a batch function has to return a list of dicts, found {_kind(scores)}")
            if len(scores) != len(rows):
                raise BadScore(f"got {len(rows)} rows and returned {len(scores)} scores")
        return [checked_score(score) for score in scores]


class BadScore(ValueError):
    """A reward function returned something that is not a score."""


def load_file(path: str) -> ModuleType:
    """Run a Python file as a module. Raises UserError where it is missing or fails."""
    if not Path(path).is_file():
        near = difflib.get_close_matches(Path(path).name, [p.name for p in Path(path).parent.glob("*.py")])
        hint = f"; nearest in that folder: {', '.join(near)}" if near else ""
        raise UserError(f"reward_function: {path}: no such file{hint}")
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise UserError(f"reward_function: {path}: not a Python file (wanted a name that ends in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"reward_function: {path}: loading it failed with {type(error).__name__}: {error}") from error
    return module


def checked_score(score: Any) -> dict[str, float]:
    """A score as a dict of finite floats with `overall`. Raises BadScore."""
    if not isinstance(score, dict):
        raise BadScore(f'a score has to be a dict with "overall", found {_kind(score)}')
    if "overall" not in score:
        raise BadScore(f'a score has to have "overall", found the keys {sorted(map(str, score))}')
    plain = {}
    for key, value in score.items():
        if value is None and key != "overall":
            continue  # EasyR1 allows None for a part that does not apply
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise BadScore(f"{key}: found {_kind(value)}, wanted a number") from None
        if not math.isfinite(number):
            raise BadScore(f"{key}: found {number}, wanted a finite number")
        plain[str(key)] = number
    return plain


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {repr(value)[:80]}"
