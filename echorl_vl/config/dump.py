"""Config -> plain dictionaries and YAML, and single values by dotted key."""

from __future__ import annotations

import copy
import dataclasses
import operator
import re
from collections.abc import Mapping
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


def put(tree: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Put the values of dotted keys into nested dicts, in place."""
    for key, value in values.items():
        *sections, name = key.split(".")
        holder = tree
        for section in sections:
            holder = holder.setdefault(section, {})
        holder[name] = value
    return tree


def to_yaml(config: Any) -> str:
    """YAML that `load_config` reads back as an equal configuration."""
    return yaml.dump(_escape(config_to_dict(config)), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def _escape(value: Any) -> Any:
    """Escape `${`: values are resolved already, so it is meant literally."""
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def get_value(config: Any, key: str) -> Any:
    """Get the value of a dotted key."""
    return operator.attrgetter(key)(config)
