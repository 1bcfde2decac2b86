"""Building blocks of the schema: sections, types with ranges, and their description for help and errors."""

from __future__ import annotations

import sys
import types
import typing
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from echorl_vl.places import split_places

MILLION, BILLION, LARGEST_FLOAT = 10**6, 10**9, int(sys.float_info.max)
MAX_TEXT, MAX_PATH, MAX_NAME = 10_000, 4096, 255  # bytes: of a string, of a path, of a part of one
MAX_ITEMS = 100  # of a list

# Every number has an upper bound. Without one, a typo shows up minutes later as an OverflowError, a MemoryError or a
# run that never starts. A billion allows for what people write to mean "no limit".
Tokens = Annotated[int, Field(ge=1, le=2**20)]
Rows = Annotated[int, Field(ge=1, le=10_000_000)]
Count = Annotated[int, Field(ge=0, le=BILLION)]
Positive = Annotated[int, Field(ge=1, le=BILLION)]
CountOrAll = Annotated[int, Field(ge=-1, le=BILLION)]  # -1 is no limit, or never
Devices = Annotated[int, Field(ge=1, le=100_000)]
Processes = Annotated[int, Field(ge=1, le=1024)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=MILLION)]
PositiveWeight = Annotated[float, Field(gt=0, le=MILLION)]


@dataclass(frozen=True)
class Place:
    """Annotation of a string that is a path or part of one: problems, function, selector, input or output."""

    kind: str


EMPTY = "null is the empty string"  # an annotation
Input, Output = Annotated[str, Place("input")], Annotated[str, Place("output")]
Function = Annotated[str, Place("function")]
Problems = Annotated[str | list[str], Place("problems"), EMPTY]
Text = Annotated[str, EMPTY]


@dataclass(frozen=True)
class Choices:
    """Annotation of a string that has to be one of the names of a registry, which may still grow."""

    names: Collection[str]


def one_of(names: Collection[str]) -> Any:
    """The type of a name of a registry."""

    def check(value: str) -> str:
        return value if value in names else _refuse(f"one of {', '.join(names)}")

    return Annotated[str, AfterValidator(check), Choices(names)]


def option(default: Any, description: str) -> Any:
    """A field with its default and a line of help."""
    return Field(default, description=description)


def section(cls: type[Section], description: str) -> Any:
    """A field that holds a nested section with its own defaults."""
    return Field(default_factory=cls, description=description)


class Section(BaseModel):
    """A section of the configuration.

    Values are converted if nothing is lost: a string that spells a number or a bool (environment variables are
    strings), a float without a fraction to an int, one string to a list. NaN and infinity are rejected.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _convert(cls, value: Any, info: ValidationInfo) -> Any:
        option = make_option(cls, info.field_name)
        if value is None or (value == "" and option.optional):
            return option.null
        if value == "???":  # OmegaConf's mark of a value that has to be given
            _refuse(f"a value ({option.type_text})")
        if option.kind in (int, float) and isinstance(value, bool):
            _refuse(option.type_text)
        if option.kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        if option.kind is float and isinstance(value, int):
            return float(max(-LARGEST_FLOAT, min(LARGEST_FLOAT, value)))
        if isinstance(value, list) and len(value) > MAX_ITEMS:
            _refuse(f"{option.type_text}, at most {MAX_ITEMS} of them")
        return [value] if option.kind is tuple and isinstance(value, str) else value

    @field_validator("*", mode="after")
    @classmethod
    def _check_strings(cls, value: Any, info: ValidationInfo) -> Any:
        place = make_option(cls, info.field_name).place
        for text in split_places(value) if place == "problems" else [value]:
            if isinstance(text, str) and (fault := _string_fault(text, place)):
                _refuse(fault)
        return value


class NotExpected(ValueError):
    """An invalid value. The message, which follows "expected", says more than the type and range of the field."""


def _refuse(expected: str) -> typing.NoReturn:
    raise NotExpected(expected)


def _string_fault(value: str, place: str | None) -> str | None:
    """What is expected of a string, if it is invalid. YAML can spell characters that no file name has (`"\\0"`)."""
    limit = MAX_PATH if place else MAX_TEXT
    if len(value.encode("utf-8", "surrogatepass")) > limit:
        return f"at most {limit:,} bytes, got {len(value):,} characters"
    bad = next((letter for letter in value if unicodedata.category(letter) in ("Cc", "Cs")), None)
    if bad is not None:
        return f"no control characters and no lone surrogates, got U+{ord(bad):04X}"
    if place and any(len(part.encode()) > MAX_NAME for part in value.split("/")):
        return f"at most {MAX_NAME} bytes between two /"
    return None


@dataclass(frozen=True)
class Option:
    """A key of the schema, or a section of it.

    Attributes:
        key: Its dotted name.
        owner: The section that has it.
        kind: int, float, bool, str, list, tuple, dict or a section; of a union its first member.
        optional: Whether the type has None.
        null: What null stands for.
        place: What kind of path it is (`Place`); None: it is no path.
        choices: The values that a string, or each member of a list, may have; empty: any.
        bounds: The range of a number, in words: "at least 1 and at most 8".
        type_text: The type in words.
    """

    key: str
    owner: type[Section]
    help: str
    default: Any
    kind: Any
    optional: bool
    null: Any
    place: str | None
    choices: Collection[str]
    bounds: str
    type_text: str

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def range(self) -> str:
        """The allowed values in words; empty if the type says it all."""
        return f"one of {', '.join(self.choices)}{' or null' * self.optional}" if self.choices else self.bounds

    @property
    def nullable(self) -> bool:
        """Whether null is a value of the key."""
        return self.optional or self.null is not None

    @property
    def is_section(self) -> bool:
        return isinstance(self.kind, type) and issubclass(self.kind, Section)

    @property
    def is_text(self) -> bool:
        """Whether unquoted YAML scalars are read as strings, never as numbers."""
        return self.kind is str

    def convert(self, value: Any) -> Any:
        """Convert a value as the section does. Raises ValidationError if it is invalid."""
        return getattr(self.owner.model_validate({self.name: value}), self.name)

    def accepts(self, value: Any) -> bool:
        """Whether the value is valid."""
        try:
            self.convert(value)
        except ValidationError:
            return False
        return True


@cache
def make_option(owner: type[Section], name: str, prefix: str = "") -> Option:
    """Describe a field. `choices` may be a registry that still grows."""
    field = owner.model_fields[name]
    extra = field.json_schema_extra or {}
    hints = list(_nested(field.annotation))
    inner = [mark for hint in hints for mark in getattr(hint, "__metadata__", ())]
    marks = [part for mark in [*field.metadata, *inner] for part in getattr(mark, "metadata", [mark])]
    kinds = [typing.get_origin(hint) or hint for hint in hints]
    kind = next(one for one in kinds if one not in (Annotated, typing.Union, types.UnionType))
    kind = extra.get("section", str if kind is Literal else kind)
    registry = next((mark.names for mark in marks if isinstance(mark, Choices)), None)
    literals = [one for hint in hints if typing.get_origin(hint) is Literal for one in typing.get_args(hint)]
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [(word, getattr(mark, name)) for name, word in words.items() for mark in marks if hasattr(mark, name)]
    bounds = [f"{word} {int(limit) if int(limit) == limit else limit:,}" for word, limit in limits]
    empty = {} if kind is dict or (isinstance(kind, type) and issubclass(kind, Section)) else ""
    return Option(
        key=prefix + name,
        owner=owner,
        help=field.description or "",
        default=field.get_default(call_default_factory=True),
        kind=kind,
        optional=type(None) in hints,
        null=empty if empty == {} or EMPTY in marks else None,
        place=next((mark.kind for mark in marks if isinstance(mark, Place)), None),
        choices=registry if registry is not None else literals,
        bounds=" and ".join(dict.fromkeys(bounds)),
        type_text=type_text(field.annotation),
    )


def _nested(hint: Any) -> Iterator[Any]:
    """Yield a type and all types inside it, outermost first."""
    yield hint
    if typing.get_origin(hint) is not Literal:
        for inner in typing.get_args(hint):
            yield from _nested(inner)


def type_text(hint: Any, several: bool = False) -> str:
    """Describe a type: "an int or null", "a list of strings"."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_text(member, several) for member in args)
    if origin is Annotated:
        return type_text(args[0], several)
    if origin in (tuple, list):
        count = "" if origin is list or args[-1] is Ellipsis else f"{len(args)} "
        return f"a list of {count}{type_text(args[0], several=True)}"
    if hint is type(None):
        return "null"
    names = {bool: "bool", int: "int", float: "float", str: "string", dict: "mapping", Literal: "string"}
    name = names.get(origin or hint, "value")
    return f"{name}s" if several else f"an {name}" if name == "int" else f"a {name}"


@cache
def _walk(cls: type[Section], prefix: str = "") -> tuple[Option, ...]:
    found: list[Option] = []
    for name in cls.model_fields:
        found.append(make_option(cls, name, prefix))
        found += _walk(found[-1].kind, f"{prefix}{name}.") if found[-1].is_section else ()
    return tuple(found)


@cache
def schema_options(cls: type[Section]) -> dict[str, Option]:
    """Dotted key -> Option for every value below a section, in the order of the schema."""
    return {option.key: option for option in _walk(cls) if not option.is_section}


@cache
def schema_sections(cls: type[Section]) -> dict[str, Option]:
    """Dotted key -> Option for every section below one."""
    return {option.key: option for option in _walk(cls) if option.is_section}
