"""Names of a host framework that an adapter calls, subclasses or patches, with their parameters and the reason.

An adapter checks all of them before a run starts: a name that has changed since the tested version could silently
train something else than the configuration asks for.
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
    """A name of a host framework.

    Attributes:
        module: where the name is.
        name: the name, dotted for a member of a class.
        parameters: arguments of a call to it, or to its replacement; those after "*" are passed by name. The host may
            have more parameters with defaults. None: it is not called.
        why: what it is used for.
    """

    module: str
    name: str
    parameters: tuple[str, ...] | None
    why: str

    def __str__(self) -> str:
        called = "" if self.parameters is None else f"({', '.join(self.parameters)})"
        return f"{self.module}.{self.name}{called}"


def hook_faults(hooks: Sequence[Hook], engine: str) -> str:
    """Describe each hook that is missing or has other parameters, one per line; empty if there are none.

    Raises:
        UserError: a module of the host needs a package that is not installed. The message names `engine`.
    """
    for hook in hooks:
        try:
            importlib.import_module(hook.module)
        except ImportError as error:
            if error.name and error.name.split(".")[0] != hook.module.split(".")[0]:
                raise UserError(f"engine {engine}: {hook.module} needs {error.name}, which is not installed") from error
    faults = [f"  {hook}: {fault}\n    used for: {hook.why}" for hook in hooks if (fault := _fault(hook))]
    return "\n".join(faults)


def _fault(hook: Hook) -> str | None:
    """Describe how a hook differs from what is expected; None if it doesn't."""
    try:
        found: Any = importlib.import_module(hook.module)
    except ImportError as error:
        return f"{hook.module} can't be imported ({error})"
    for name in hook.name.split("."):
        found = _plain(found)
        if not hasattr(found, name):
            return "does not exist"
        found = getattr(found, name)
    return None if hook.parameters is None else _call_fault(_plain(found), hook.parameters)


def _call_fault(function: Any, parameters: tuple[str, ...]) -> str | None:
    """Why a call with `parameters` (see `Hook`) would fail or bind them differently; None if it works."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "is not a function"
    named = [one for name, one in signature.parameters.items() if not name.startswith("_ray_")]  # Ray adds those
    at = parameters.index("*") if "*" in parameters else len(parameters)
    by_place, by_name = parameters[:at], parameters[at + 1 :]
    try:
        bound = signature.replace(parameters=named).bind(*by_place, **{name: name for name in by_name}).arguments
        fault = next((f"{name} has moved" for name in (*by_place, *by_name) if bound.get(name) != name), None)
    except TypeError as error:
        fault = str(error)
    return f"got parameters ({', '.join(one.name for one in named)}): {fault}" if fault else None


def _plain(found: Any) -> Any:
    """The class inside Ray's wrapper, if it has one."""
    return getattr(getattr(found, "__ray_metadata__", None), "modified_class", found)


@contextmanager
def patched(owner: Any, **names: Any) -> Iterator[None]:
    """Set names of `owner` (a module or an object) inside the context, and restore the old values after it."""
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
