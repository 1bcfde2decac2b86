"""A configuration file and the command line -> assignments to keys of the schema, each with its origin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from echorl_vl.errors import UserError, cut
from echorl_vl.safe_yaml import TAG, compose, entries, is_null, line_of, read_text, value_of
from echorl_vl.spelling import nearest_key

from .dump import put
from .issues import ConfigIssue
from .names import ALIASES, OTHER_NAMES, key_names
from .schema import OPTIONS, SECTIONS

COMMAND_LINE = "command line"
MAPPINGS = [key for key, option in OPTIONS.items() if option.kind is dict]


@dataclass(frozen=True)
class Assignment:
    """`key`, of a value or of a section that is one interpolation, is set to `value` at `origin`."""

    key: str
    value: Any
    origin: str


def read_file(path: Path, issues: list[ConfigIssue]) -> list[Assignment]:
    """Read the assignments of a YAML file. Issues with its keys are appended to `issues`.

    Raises:
        UserError: The file can't be read, or is not a YAML mapping.
    """
    reader = _Reader(str(path), issues)
    try:
        root = compose(read_text(path), reader.duplicate)
        if not isinstance(root, yaml.MappingNode):
            held = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            kind = "is empty" if is_null(root) else f"holds {held}"
            raise UserError(f"{path}: the file {kind}; expected a mapping with data:, worker:, trainer: ...")
        return list(reader.walk("", root, root))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{place}: invalid YAML: {error.problem}") from None


def read_overrides(overrides: Sequence[str], issues: list[ConfigIssue]) -> list[Assignment]:
    """Read dotted overrides such as `worker.rollout.n=8`. Values are YAML."""
    found: list[Assignment] = []
    reader = _Reader(COMMAND_LINE, issues)
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            message = f"{cut(repr(override))} ({COMMAND_LINE}): expected key=value, for example worker.rollout.n=8"
            issues.append(ConfigIssue((key,), message))
            continue
        option = OPTIONS.get(ALIASES.get(key, key))
        try:
            node = compose(text, reader.duplicate, key)
            if node is None:  # `key=`: an empty string, or null where null is a value of the key
                kind = "str" if option and option.is_text and not option.nullable else "null"
                node = yaml.ScalarNode(TAG + kind, "")
            found += reader.walk(key, node, node)
        except yaml.MarkedYAMLError as error:
            if option and option.is_text:  # such as *visual*, which is an alias in YAML
                found.append(Assignment(key, text.strip(), COMMAND_LINE))
                continue
            message = f"{key} = {cut(text)} ({COMMAND_LINE}): invalid YAML: {error.problem}; does it need quotes?"
            issues.append(ConfigIssue((key,), message))
    return found


def unknown_key(key: str, origin: str, is_mapping: bool = False) -> ConfigIssue:
    """The issue of an unknown key. It suggests the nearest key, or lists the keys of the section."""
    leaves, branches, key = list(OPTIONS), list(SECTIONS), cut(key)
    if reason := key_names("gone").get(key.rpartition(".")[2]):
        return ConfigIssue((key,), f"{key} ({origin}): {reason}")
    renamed = {**OTHER_NAMES, **key_names("renamed")}
    if nearest := nearest_key(key, branches + leaves if is_mapping else leaves + branches, renamed):
        return ConfigIssue((key, nearest), f"{key} ({origin}): unknown key; did you mean {nearest}?")
    parent = key.rpartition(".")[0]
    while parent and parent not in branches:
        parent = parent.rpartition(".")[0]
    known = [name.rpartition(".")[2] for name in branches + leaves if name.rpartition(".")[0] == parent]
    return ConfigIssue((key,), f"{key} ({origin}): unknown key; {parent or 'the top level'} has {', '.join(known)}")


@dataclass
class _Reader:
    """Walks a YAML tree along the schema. Issues are appended to `issues`."""

    source: str
    issues: list[ConfigIssue]

    def origin(self, node: yaml.Node) -> str:
        return self.source if self.source == COMMAND_LINE else f"{self.source} line {line_of(node)}"

    def duplicate(self, key: str, node: yaml.Node, line: int) -> None:
        self.issues.append(ConfigIssue((key,), f"{key} ({self.origin(node)}): set twice, first in line {line}"))

    def walk(self, key: str, node: yaml.Node, at: yaml.Node) -> Iterator[Assignment]:
        """Yield the assignments below a key; `at` is the node of the key itself."""
        option, origin = OPTIONS.get(ALIASES.get(key, key)), self.origin(at)
        if not key or key in SECTIONS:
            if isinstance(node, yaml.MappingNode):
                yield from self._entries(key, node)
            elif not is_null(node):
                yield Assignment(key, value_of(node), origin)
        elif option is not None:
            plain = isinstance(node, yaml.ScalarNode) and node.style is None
            if plain and node.value == "None" and option.nullable:
                node = yaml.ScalarNode(f"{TAG}null", "null")
            as_written = plain and option.is_text and not is_null(node)  # 0.10 and true are strings
            yield Assignment(key, node.value if as_written else value_of(node), origin)
        elif key in key_names("derived"):
            yield Assignment(key, value_of(node), origin)
        elif owner := next((name for name in MAPPINGS if key.startswith(f"{name}.")), None):
            yield Assignment(owner, put({}, {key[len(owner) + 1 :]: value_of(node)}), origin)
        else:
            self.issues.append(unknown_key(key, origin, isinstance(node, yaml.MappingNode)))

    def _entries(self, key: str, node: yaml.MappingNode) -> Iterator[Assignment]:
        for name, child in entries(node):
            if "." in name.value or not name.value:
                message = f"{name.value!r} ({self.origin(name)}): dotted keys are for the command line; nest it here"
                self.issues.append(ConfigIssue((name.value,), message))
            else:
                yield from self.walk(f"{key}.{name.value}" if key else name.value, child, name)
