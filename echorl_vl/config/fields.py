"""Building blocks of the schema: sections, types of texts, and a description of each key for help and errors."""

from __future__ import annotations

import sys
import types
import typing
from collections import ChainMap
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from echorl_vl.places import resolve, split_places
from echorl_vl.safe_yaml import check_text

LARGEST_FLOAT = int(sys.float_info.max)
MAX_ITEMS = 100  # of a list
UNIONS = (typing.Union, types.UnionType)
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
TYPES = {bool: "a bool", int: "an int", float: "a float", str: "a string", dict: "a mapping", type(None): "null"}


class Place(str):
    """Annotation of a string that is a path or part of one: problems, function, input or output."""


EMPTY = "null is the empty string"  # an annotation
Input, Output = Annotated[str, Place("input")], Annotated[str, Place("output")]
Function = Annotated[str, Place("function")]
Problems = Annotated[str | list[str], Place("problems"), EMPTY]
Text = Annotated[str, EMPTY]


class Choices(ChainMap[str, Any]):
    """Annotation of a string that has to be one of the names of registries, which may still grow."""


def option(default: Any, description: str) -> Any:
    """A field with its default and a line of help."""
    return Field(default, description=description)


def section(cls: type, description: str) -> Any:
    """A field that holds a nested section with its own defaults."""
    return Field(default_factory=cls, description=description)


class Section(BaseModel):
    """A section of the configuration.

    Values are converted if nothing is lost: a string that spells a number or a bool (environment variables are
    strings), a float without a fraction to an int, one string to a list. NaN and infinity are rejected. Paths of what
    exists become absolute if the context of the validation is the folder of the file. Errors say what is expected.
    """

    model_config = ConfigDict(
        extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True, from_attributes=True, protected_namespaces=()
    )

    @field_validator("*", mode="before")
    @classmethod
    def _convert(cls, value: Any, info: ValidationInfo) -> Any:
        option = make_option(cls, info.field_name)
        if value is None or (value == "" and option.optional):
            return option.null
        if value == "???":  # OmegaConf's mark of a value that has to be given
            raise ValueError(f"a value ({option.type_text})")
        if option.kind in (int, float) and isinstance(value, bool):
            raise ValueError(option.type_text)
        if option.kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        if option.kind is float and isinstance(value, int):
            return float(max(-LARGEST_FLOAT, min(LARGEST_FLOAT, value)))
        if isinstance(value, list) and len(value) > MAX_ITEMS:
            raise ValueError(f"{option.type_text}, at most {MAX_ITEMS} of them")
        return [value] if option.kind is tuple and isinstance(value, str) else value

    @field_validator("*", mode="after")
    @classmethod
    def _check_strings(cls, value: Any, info: ValidationInfo) -> Any:
        option = make_option(cls, info.field_name)
        if isinstance(value, str) and option.choices and value not in option.choices:
            raise ValueError(option.range)
        for text in split_places(value) if option.place == "problems" else [value]:
            if isinstance(text, str):
                check_text(text, is_path=option.place is not None)
        return resolve(value, option.place, info.context) if option.place and value and info.context else value


class Option:
    """A key of the schema, or a section of it.

    Attributes:
        key: Its dotted name.
        kind: int, float, bool, str, list, tuple, dict or a section; of a union its first member.
        is_section: Whether it is a section.
        is_text: Whether unquoted YAML scalars are read as strings, never as numbers.
        optional: Whether the type has None.
        null: What null stands for.
        nullable: Whether null is a value of the key.
        place: What kind of path it is (`Place`); None: it is no path.
        choices: The values that a string, or each member of a list, may have; empty: any.
        bounds: The range of a number, in words: "at least 1 and at most 8".
        type_text: The type in words.
    """

    def __init__(self, owner: type[Section], name: str, prefix: str = "") -> None:
        field = owner.model_fields[name]
        parts = [*_parts(field.annotation), *field.metadata]
        literals = [one for part in parts if typing.get_origin(part) is Literal for one in typing.get_args(part)]
        kinds = (typing.get_origin(part) or part for part in parts)
        kind = next(one for one in kinds if one not in (Annotated, *UNIONS))
        limits = [(words, getattr(part, one)) for one, words in LIMITS.items() for part in parts if hasattr(part, one)]
        bounds = [f"{words} {int(limit) if int(limit) == limit else limit:,}" for words, limit in limits]
        self.owner, self.name, self.key = owner, name, prefix + name
        self.help, self.default = field.description or "", field.get_default(call_default_factory=True)
        self.kind = str if kind is Literal else kind
        self.is_section = isinstance(kind, type) and issubclass(kind, Section)
        self.is_text = self.kind is str
        self.optional = type(None) in parts
        self.null = {} if kind is dict or self.is_section else "" if EMPTY in parts else None
        self.nullable = self.optional or self.null is not None
        self.place = next((part for part in parts if isinstance(part, Place)), None)
        self.choices = next((part for part in parts if isinstance(part, Choices)), literals)
        self.bounds = " and ".join(dict.fromkeys(bounds))
        self.type_text = _type_text(field.annotation)

    @property
    def range(self) -> str:
        """The allowed values in words; empty if the type says it all."""
        return f"one of {', '.join(self.choices)}{' or null' * self.optional}" if self.choices else self.bounds

    def convert(self, value: Any) -> Any:
        """Convert a value as the section does. Raises ValueError if it is invalid."""
        return getattr(self.owner.model_validate({self.name: value}), self.name)


make_option = cache(Option)


def walk(cls: type[Section], prefix: str = "") -> Iterator[Option]:
    """Yield every key below a section, and the sections among them, in the order of the schema."""
    for name in cls.model_fields:
        option = Option(cls, name, prefix)
        yield option
        if option.is_section:
            yield from walk(option.kind, f"{option.key}.")


def _parts(hint: Any) -> Iterator[Any]:
    """Yield a type, outermost first, and all that is in it: members, annotations, limits."""
    yield hint
    for inner in [*typing.get_args(hint), *getattr(hint, "metadata", ())]:
        yield from _parts(inner)


def _type_text(hint: Any) -> str:
    """Describe a type: "an int or null", "a list of strings"."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in UNIONS:
        return " or ".join(map(_type_text, args))
    if origin is Annotated:
        return _type_text(args[0])
    if origin in (tuple, list):
        count = "" if origin is list or args[-1] is Ellipsis else f"{len(args)} "
        return f"a list of {count}{_type_text(args[0]).partition(' ')[2]}s"
    return TYPES.get(str if origin is Literal else origin or hint, "a value")
