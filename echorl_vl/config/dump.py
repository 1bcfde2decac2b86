"""Config -> plain dictionaries and YAML, and single values by dotted key."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import Any

import yaml

from .schema import Config
from .yaml_tree import Dumper


def config_to_dict(config: Any) -> dict[str, Any]:
    """The configuration (or one section of it) as nested dicts, lists and scalars, in the order of the schema."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config) if field.init}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return config_to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return copy.deepcopy(dict(value)) if hasattr(value, "keys") else value


def to_yaml(config: Config) -> str:
    """YAML that `load_config` reads back as an equal configuration."""
    plain = _escape(config_to_dict(config))
    return yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def _escape(value: Any) -> Any:
    """Values are resolved already: a `${` left in a text is meant literally."""
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: found.group(1) * 2 + r"\${", value)
    return value


def get_value(config: Config, key: str) -> Any:
    """The value of a dotted key."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def set_value(config: Config, key: str, value: Any) -> None:
    """Sets a dotted key in place (not below `echo`, which is frozen)."""
    section, _, name = key.rpartition(".")
    setattr(get_value(config, section) if section else config, name, value)
