"""The registry of engines, and names of keys: older ones, and those of engines' frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echorl_vl.engines.base import Engine

ENGINES: dict[str, Engine] = {}
"""What `engine` may be; filled by `import echorl_vl.engines`."""

ALIASES: dict[str, str] = {"data.trace_key": "data.demonstration_key"}
"""Older name of a key, still accepted -> the key."""

OTHER_NAMES = {"learning_rate": "optim.lr", "num_generations": "rollout.n", "echo.lambda": "echo.coef"}
"""Name in TRL, which is no engine, or in the paper -> the last parts of a key."""


def key_names(table: str) -> dict[str, Any]:
    """A table of the `KeyNames` of all engines."""
    return {name: found for engine in ENGINES.values() for name, found in getattr(engine.key_names, table).items()}
