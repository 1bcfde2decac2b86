"""What the configuration knows about engines. They register themselves; none is named here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .issues import ConfigIssue
    from .schema import Config


@dataclass(frozen=True)
class KeyNames:
    """The names that an engine's framework has for keys of the schema.

    Attributes:
        derived: Key that the framework accepts and sets itself -> the key that it takes the value from.
        renamed: A key, or its last part -> the key here, or its last parts, where spelling would not lead there.
        gone: Last part of a key that has no counterpart -> what the error says.
        refused: Key -> a value with another meaning in the framework, and why it is refused here.
    """

    derived: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, tuple[object, str]] = field(default_factory=dict)


class ConfiguredEngine(Protocol):
    """What a configuration and its help ask of an engine; see `echorl_vl.engines.base.Engine`."""

    summary: str
    accepts: Mapping[str, tuple[tuple[Any, ...], str]]
    ignores: Collection[str]
    key_names: KeyNames

    def issues(self, config: Config) -> list[ConfigIssue]: ...

    def general_issues(self, config: Config) -> list[ConfigIssue]: ...


ENGINES: dict[str, ConfiguredEngine] = {}
"""What `engine` may be; filled by `import echorl_vl.engines`."""


def key_names() -> KeyNames:
    """The names of all engines."""
    tables = {
        one.name: {k: v for engine in ENGINES.values() for k, v in getattr(engine.key_names, one.name).items()}
        for one in fields(KeyNames)
    }
    return KeyNames(**tables)
