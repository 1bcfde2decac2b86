"""Config -> plain dictionaries and YAML, and single values by dotted key."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import Any

import yaml
from pydantic import BaseModel

from echorl_vl.safe_yaml import Dumper


def config_to_dict(value: Any) -> Any:
    """The configuration, or a section of it, as nested dicts, lists and scalars, in the order of the schema."""
    if isinstance(value, BaseModel):
        return {name: config_to_dict(getattr(value, name)) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value):
        return {field.name: config_to_dict(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [config_to_dict(item) for item in value] if isinstance(value, (list, tuple)) else copy.deepcopy(value)


def to_yaml(config: Any) -> str:
    """YAML that `load_config` reads back as an equal configuration."""
    plain = _escape(config_to_dict(config))
    return yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def _escape(value: Any) -> Any:
    """Escape `${`: values are resolved already, so it is meant literally."""
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def get_value(config: Any, key: str) -> Any:
    """Get the value of a dotted key."""
    for name in key.split("."):
        config = getattr(config, name)
    return config


def set_value(config: Any, key: str, value: Any) -> None:
    """Set a dotted key in place. Keys of `echo` can't be set: it is frozen."""
    section, _, name = key.rpartition(".")
    setattr(get_value(config, section) if section else config, name, value)
