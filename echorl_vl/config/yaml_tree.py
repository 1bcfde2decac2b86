"""YAML text -> values with the lines that they stand on, safely: no tags that build objects, no duplicate keys.

Numbers are read as YAML 1.2 and OmegaConf do (`1e-6` is a number, `2024-01-01` and `010` are text); `yes`, `no`, `on`
and `off` are booleans as in YAML 1.1, because EasyR1's loader takes them so.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from .limits import MOST_DIGITS

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
MAX_DEPTH = 50

FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
INT = re.compile(r"^(?:[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F_]+)$")
NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
TEXT_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool"))
NULL_TAG = "tag:yaml.org,2002:null"


class YamlProblem(Exception):
    """What is wrong with a YAML text, and on which line (1-based; None where it has no place)."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


def _with_number_rules(cls: type) -> type:
    """Replaces YAML 1.1's rules for numbers and dates on a loader or dumper class."""
    cls.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag not in NUMBER_TAGS]
        for first, rules in cls.yaml_implicit_resolvers.items()
    }
    cls.add_implicit_resolver("tag:yaml.org,2002:int", INT, list("-+0123456789"))
    cls.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))
    return cls


@_with_number_rules
class Loader(yaml.SafeLoader):
    """yaml.SafeLoader with the number rules of this module."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuses numbers that Python would not print again."""
        if len(node.value) > MOST_DIGITS:
            message = f"a number of {len(node.value)} digits; expected at most {MOST_DIGITS}"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        return super().construct_yaml_int(node)


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)


@_with_number_rules
class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads back as the same value."""


def compose(text: str) -> tuple[Loader, yaml.Node | None]:
    """Parses one YAML document to its node tree (None where it is empty). Raises YamlProblem."""
    if len(text) > MAX_BYTES:
        raise YamlProblem(f"{len(text):,} characters; expected at most {MAX_BYTES:,}")
    try:
        loader = Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise YamlProblem(reason, mark and mark.line + 1, mark and mark.column + 1) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise YamlProblem(f"character #x{code:04x} is not allowed in YAML", line) from None
    except RecursionError:
        raise YamlProblem("nested too deeply") from None
    if node is not None and _expanded_size(node, {}) > MAX_VALUES:
        raise YamlProblem(f"more than {MAX_VALUES} values once its aliases are expanded")
    return loader, node


def _expanded_size(node: yaml.Node, known: dict[int, int], depth: int = 0) -> int:
    """Number of nodes below `node` with every alias counted in full.

    Raises YamlProblem on an alias of itself, and below MAX_DEPTH levels: whatever walks the values later recurses.
    """
    if depth > MAX_DEPTH:
        raise YamlProblem(f"nested too deeply: expected at most {MAX_DEPTH} levels", line_of(node))
    if id(node) in known:
        if known[id(node)] < 0:
            raise YamlProblem("an alias contains itself", line_of(node))
        return known[id(node)]
    known[id(node)] = -1
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_expanded_size(item, known, depth + 1) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            size += _expanded_size(key, known, depth + 1) + _expanded_size(value, known, depth + 1)
    known[id(node)] = size
    return size


def line_of(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def entries(loader: Loader, node: yaml.MappingNode) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """(key text, key node, value node) of a mapping, merge keys (`<<`) expanded; own keys beat merged ones."""
    loader.flatten_mapping(node)
    found: dict[str, tuple[str, yaml.Node, yaml.Node]] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise YamlProblem("a key must be a word, not a list or a mapping", line_of(key))
        found[key.value] = (key.value, key, value)
    return list(found.values())


def duplicate_keys(node: yaml.Node, prefix: str = "", seen: set[int] | None = None) -> list[tuple[str, int, int]]:
    """(dotted key, line, line of the first one) for each key that a mapping below `node` holds twice.

    Has to run before `entries`, which merges.
    """
    seen = set() if seen is None else seen
    if id(node) in seen:
        return []
    seen.add(id(node))
    found = []
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            found += duplicate_keys(item, prefix, seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            if isinstance(key, yaml.ScalarNode) and name in first and name != "<<":
                found.append((prefix + name, line_of(key), first[name]))
            first.setdefault(name, line_of(key))
            found += duplicate_keys(value, f"{prefix}{name}.", seen)
    return found


def is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == NULL_TAG


def is_nothing(node: yaml.Node) -> bool:
    """True for null, and for Python's word for it, unquoted: what stands where a key may be left unset."""
    return is_null(node) or (isinstance(node, yaml.ScalarNode) and node.style is None and node.value == "None")


def construct(loader: Loader, node: yaml.Node, as_text: bool = False) -> Any:
    """The value of a node. With `as_text` an unquoted scalar keeps its spelling (`0.10`, `true`), null aside."""
    if as_text and isinstance(node, yaml.ScalarNode) and node.tag in TEXT_TAGS:
        return node.value
    try:
        return loader.construct_object(node, deep=True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlProblem(error.problem or str(error), mark and mark.line + 1, mark and mark.column + 1) from None
    except (ValueError, OverflowError, TypeError) as error:
        raise YamlProblem(str(error), line_of(node)) from None
