"""How the schema describes itself: every field carries a help line and the range of values that it allows.

The checks and `--help` both read these descriptions, so neither can drift from the schema.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Range:
    """Values that a field allows. For a list the range holds for each element; null is never out of range.

    choices: a mapping of them may still grow, as a registry does.
    """

    choices: Collection[str] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def accepts(self, value: Any) -> bool:
        """True where `value`, already of the field's type, is inside the range."""
        if value is None:
            return True
        if isinstance(value, (tuple, list)):
            return all(self.accepts(item) for item in value)
        if self.choices:
            return value in self.choices
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices)
        named = (("at least", self.at_least), ("above", self.above), ("at most", self.at_most), ("below", self.below))
        return " and ".join(f"{word} {_number(bound)}" for word, bound in named if bound is not None)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def option(
    default: Any,
    help: str,
    *,
    choices: Collection[str] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    null: Any = None,
) -> Any:
    """A dataclass field with its help line and its range; `null` is what null stands for in a field that has none."""
    metadata = {"help": help, "range": Range(choices, at_least, above, at_most, below), "null": null}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(cls: type, help: str) -> Any:
    """A dataclass field that holds a nested section with its own defaults."""
    return dataclasses.field(default_factory=cls, metadata={"help": help})


@dataclass(frozen=True)
class Option:
    """One key of the schema: its dotted name, type, default, help line and range."""

    key: str
    hint: Any
    default: Any
    help: str
    range: Range
    null: Any = None

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def optional(self) -> bool:
        return type(None) in typing.get_args(self.hint) if is_union(self.hint) else False

    @property
    def is_text(self) -> bool:
        """True for fields of text (or of text or a list), whose unquoted scalars are never read as numbers."""
        inner = inner_type(self.hint)
        return inner is str or (is_union(inner) and typing.get_args(inner)[0] is str)

    @property
    def is_mapping(self) -> bool:
        """True for free-form mappings (for example `reward_function_kwargs`)."""
        inner = inner_type(self.hint)
        return inner is dict or typing.get_origin(inner) is dict


def is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def inner_type(hint: Any) -> Any:
    """The type itself where `hint` is `type | None`."""
    if is_union(hint):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return members[0] if len(members) == 1 else hint
    return hint


@cache
def field_hints(cls: type) -> dict[str, Any]:
    """Field name -> resolved type, in the order of the class."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def field_default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def walk(cls: type, prefix: str = "") -> Iterator[tuple[str, type | None, dataclasses.Field]]:
    """Yields (dotted key, section class or None, field) for every section and leaf, in the order of the schema."""
    hints = field_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name not in hints:
            continue
        key, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield key, hint, field
            yield from walk(hint, key + ".")
        else:
            yield key, None, field


@cache
def attribute_docs(cls: type) -> dict[str, str]:
    """Field name -> the string literal below it in the class body: the help of classes that do not use `option`."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    docs = {}
    for field, doc in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            docs[field.target.id] = " ".join(str(doc.value.value).split())
    return docs


@cache
def schema_options(cls: type) -> dict[str, Option]:
    """Dotted key -> Option for every leaf below the section `cls`."""
    found = {}
    owners = {"": cls}
    for key, section_cls, field in walk(cls):
        owner = owners[key.rpartition(".")[0]]
        if section_cls is not None:
            owners[key] = section_cls
            continue
        limits = field.metadata.get("range", Range())
        hint = field_hints(owner)[field.name]
        text = field.metadata.get("help") or attribute_docs(owner).get(field.name, "")
        default = field_default(field)
        null = {} if isinstance(default, dict) else field.metadata.get("null")
        found[key] = Option(key, hint, default, text, limits, null)
    return found


@cache
def schema_sections(cls: type) -> dict[str, tuple[type, str]]:
    """Dotted key -> (section class, help line) for every section below `cls`."""
    return {key: (inner, field.metadata.get("help", "")) for key, inner, field in walk(cls) if inner is not None}
