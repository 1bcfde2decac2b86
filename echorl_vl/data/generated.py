"""Sources that generate their problems, registered under names that start with `GENERATED`.

This folder does not import the generators, which are built on it. A program imports them when it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from echorl_vl.errors import UserError

if TYPE_CHECKING:
    import datasets

MakeSplit: TypeAlias = "Callable[[str], datasets.Dataset]"
"""Returns the problems of a split. Raises ValueError if there is no such split."""

GENERATED = "generated/"
"""Prefix of the names of registered sources."""

_SOURCES: dict[str, MakeSplit] = {}


def register_source(name: str) -> Callable[[MakeSplit], MakeSplit]:
    """Decorator that registers a function as the source of the problems `name`.

    A program registers every source when it starts, so the function should import its generator itself.

    Raises:
        ValueError: the name does not start with `GENERATED`, or is registered for another function.
    """
    if not name.startswith(GENERATED):
        raise ValueError(f"expected a source name {GENERATED}NAME, got {name!r}")

    def register(make_split: MakeSplit) -> MakeSplit:
        if _SOURCES.setdefault(name, make_split) is not make_split:
            raise ValueError(f"{name} is already registered")
        return make_split

    return register


def is_generated(place: str) -> bool:
    """Whether a place names a generated source, registered or not."""
    return place.startswith(GENERATED)


def load_generated(name: str, split: str) -> datasets.Dataset:
    """Generate the problems of a split of a registered source.

    Raises:
        UserError: the source or split does not exist.
    """
    if name not in _SOURCES:
        known = ", ".join(_SOURCES) or "none (import echorl_vl.generators)"
        raise UserError(f"{name}@{split}: unknown source; registered sources: {known}")
    try:
        return _SOURCES[name](split)
    except (KeyError, ValueError) as error:
        raise UserError(f"{name}@{split}: {error.args[0] if error.args else error}") from error
