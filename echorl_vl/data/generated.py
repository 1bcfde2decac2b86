"""Data sources that make their problems: what has a name that starts with `GENERATED`, and is registered under it.

What makes problems stands above this folder, which names none of it; a program imports it when it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from echorl_vl.errors import UserError

if TYPE_CHECKING:
    import datasets

MakeSplit: TypeAlias = "Callable[[str], datasets.Dataset]"
"""Gives the problems of a split by its name. Raises ValueError where there is no such split."""

GENERATED = "generated/"
"""What the name of a registered source starts with."""

_SOURCES: dict[str, MakeSplit] = {}


def register_source(name: str) -> Callable[[MakeSplit], MakeSplit]:
    """Makes a function the source of the problems that are called `name`, as a decorator.

    Its module should import what makes them inside the function: a program registers every source when it starts.

    Raises:
        ValueError: the name does not start with `GENERATED`, or another function has it.
    """
    if not name.startswith(GENERATED):
        raise ValueError(f"a source is named {GENERATED}NAME, got {name!r}")

    def register(make_split: MakeSplit) -> MakeSplit:
        if _SOURCES.setdefault(name, make_split) is not make_split:
            raise ValueError(f"{name} is registered already")
        return make_split

    return register


def is_generated(place: str) -> bool:
    """Whether a place names a source that makes its problems, registered or not."""
    return place.startswith(GENERATED)


def load_generated(name: str, split: str) -> datasets.Dataset:
    """The problems of a split of a registered source.

    Raises:
        UserError: there is no such source or split.
    """
    if name not in _SOURCES:
        known = ", ".join(_SOURCES) or "none (import echorl_vl.generators registers some)"
        raise UserError(f"{name}@{split}: no source has this name; there are: {known}")
    try:
        return _SOURCES[name](split)
    except (KeyError, ValueError) as error:
        raise UserError(f"{name}@{split}: {error.args[0] if error.args else error}") from error
