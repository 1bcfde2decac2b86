"""Plain YAML values -> values of a field's type. Lossless conversions only."""

from __future__ import annotations

import math
import sys
import typing
from typing import Any

import yaml

from .limits import MOST_ITEMS
from .options import inner_type, is_union
from .yaml_tree import Loader

_LARGEST = int(sys.float_info.max)


class WrongType(Exception):
    """The value has not the type of the field; the message says which type is expected."""


def type_text(hint: Any) -> str:
    """A type in words, for messages and help."""
    if is_union(hint):
        inner = inner_type(hint)
        if inner is not hint:
            return f"{type_text(inner)} or null"
        return " or ".join(type_text(member) for member in typing.get_args(hint))
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is tuple or origin is list:
        if len(args) == 2 and args[1] is not Ellipsis:
            return f"a list of {len(args)} values, each {type_text(args[0])}"
        return f"a list, each entry {type_text(args[0])}" if args else "a list"
    if hint is dict or origin is dict:
        return "a mapping"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return names.get(hint, "any value")


def convert(value: Any, hint: Any) -> Any:
    """`value` as the type `hint`. Raises WrongType.

    Text that spells a number or a boolean is read as such (an environment variable arrives as text); a whole float is
    taken as an integer, and one text as a list of one. NaN and infinity are no numbers here.
    """
    if is_union(hint):
        if value is None and type(None) in typing.get_args(hint):
            return None
        for member in typing.get_args(hint):
            if member is type(None):
                continue
            try:
                return convert(value, member)
            except WrongType:
                continue
        raise WrongType(type_text(hint))
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value in args:
            return value
    elif origin in (tuple, list):
        return _convert_list(value, hint)
    elif hint is dict or origin is dict:
        if isinstance(value, dict):
            return value
    elif hint is str:
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    elif hint in (bool, int, float):
        return _convert_scalar(value, hint)
    else:
        return value
    raise WrongType(type_text(hint))


def _convert_list(value: Any, hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise WrongType(type_text(hint))
    if len(value) > MOST_ITEMS:
        raise WrongType(f"{type_text(hint)}, at most {MOST_ITEMS} of them")
    if origin is list or args[-1] is Ellipsis:
        members = [args[0]] * len(value)
    elif len(value) == len(args):
        members = list(args)
    else:
        raise WrongType(type_text(hint))
    try:
        return origin(convert(item, member) for item, member in zip(value, members, strict=True))
    except WrongType:
        raise WrongType(type_text(hint)) from None


def _convert_scalar(value: Any, hint: type) -> Any:
    if isinstance(value, str):
        value = read_scalar(value)
    if hint is bool:
        if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
            return bool(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if hint is float and not isinstance(value, float):
            value = float(max(-_LARGEST, min(_LARGEST, value)))  # a whole number may be beyond all floats
        if hint is float and math.isfinite(value):
            return value
        if hint is int and (isinstance(value, int) or (math.isfinite(value) and value == int(value))):
            return int(value)
    raise WrongType(type_text(hint))


def read_scalar(text: str) -> Any:
    """Text as the number or boolean that YAML reads in it, else the text itself."""
    loader = Loader("")
    tag = loader.resolve(yaml.ScalarNode, text.strip(), (True, False))
    if tag.rpartition(":")[2] not in ("int", "float", "bool"):
        return text
    try:
        return loader.construct_object(yaml.ScalarNode(tag, text.strip()))
    except yaml.YAMLError:  # more digits than a number may have
        return text
