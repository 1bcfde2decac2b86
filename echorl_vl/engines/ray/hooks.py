"""Names of a host framework that an adapter calls, subclasses or rebinds, each with its parameters and the reason.

Hooking into something else than what was measured would train something else than what was asked for, so an adapter
checks all of them before a run starts.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from echorl_vl.errors import UserError


@dataclass(frozen=True)
class Hook:
    """`name` in `module` (dotted below a class), and why it is used.

    parameters: those that are passed to it, or that what takes its place is called with; None: it is not called. As in
    Python, what follows "*" is passed by name. The host may have others, if they have defaults.
    """

    module: str
    name: str
    parameters: tuple[str, ...] | None
    why: str

    def __str__(self) -> str:
        called = "" if self.parameters is None else f"({', '.join(self.parameters)})"
        return f"{self.module}.{self.name}{called}"


def hook_faults(hooks: Sequence[Hook], engine: str) -> str:
    """Lines about each hook that is missing or takes other parameters; empty where all are as expected.

    Raises UserError, naming `engine`, where a module of the host needs a package that is not installed.
    """
    for hook in hooks:
        try:
            importlib.import_module(hook.module)
        except ImportError as error:
            if error.name and error.name.split(".")[0] != hook.module.split(".")[0]:
                raise UserError(f"engine {engine}: {hook.module} needs {error.name}, which is not installed") from error
    wrong = [f"  {hook}: {fault}\n    used for: {hook.why}" for hook in hooks if (fault := _fault(hook))]
    return "\n".join(wrong)


def _fault(hook: Hook) -> str | None:
    """What is wrong with a hook, None if it is as expected."""
    try:
        found: Any = importlib.import_module(hook.module)
    except ImportError as error:
        return f"{hook.module} can't be imported ({error})"
    for name in hook.name.split("."):
        found = _plain(found)
        if not hasattr(found, name):
            return "not there"
        found = getattr(found, name)
    return None if hook.parameters is None else _call_fault(_plain(found), hook.parameters)


def _call_fault(function: Any, parameters: tuple[str, ...]) -> str | None:
    """Why a call with `parameters` (see `Hook`) would fail, or mean something else than was measured; else None."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "not a function"
    named = [one for name, one in signature.parameters.items() if not name.startswith("_ray_")]  # Ray adds those
    at = parameters.index("*") if "*" in parameters else len(parameters)
    by_place, by_name = parameters[:at], parameters[at + 1 :]
    try:
        bound = signature.replace(parameters=named).bind(*by_place, **{name: name for name in by_name}).arguments
        fault = next((f"{name} is not where it was" for name in (*by_place, *by_name) if bound.get(name) != name), None)
    except TypeError as error:
        fault = str(error)
    return f"takes ({', '.join(one.name for one in named)}): {fault}" if fault else None


def _plain(found: Any) -> Any:
    """The class below Ray's wrapper, where there is one."""
    return getattr(getattr(found, "__ray_metadata__", None), "modified_class", found)


@contextmanager
def patched(owner: Any, **names: Any) -> Iterator[None]:
    """`owner` (a module or an object) with other values for some of its names; the old ones come back at the end."""
    missing = object()
    before = {name: vars(owner).get(name, missing) for name in names}
    for name, value in names.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is missing:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
