"""Rebinding a name for the time of a call: how an adapter reaches what its host looks up in a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
