"""A configuration file and the command line -> assignments to keys of the schema, each with where it came from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from echorl_vl.errors import UserError

from .issues import ConfigIssue, cut
from .names import ALIASES, DERIVED, FORKS, GONE, nearest_key, nearest_names
from .options import schema_options, schema_sections
from .schema import Config
from .yaml_tree import (
    MAX_BYTES,
    Loader,
    YamlProblem,
    compose,
    construct,
    duplicate_keys,
    entries,
    is_nothing,
    is_null,
    line_of,
)

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Assignment:
    """`key` (of a leaf, or of a section that is one interpolation) takes `value`; `origin` says where that stands.

    The key is one of the schema, or of `names.ALIASES`, or one that EasyR1 derives (`names.DERIVED`).
    """

    key: str
    value: Any
    origin: str


def read_file(path: Path) -> tuple[list[Assignment], list[ConfigIssue]]:
    """Assignments of a YAML file and what is wrong with its keys. Raises UserError where it is no YAML mapping."""
    text = _read_text(path)
    try:
        loader, root = compose(text)
        if root is None or is_null(root):
            raise UserError(f"{path}: the file is empty; expected a mapping with data:, worker:, trainer: ...")
        if not isinstance(root, yaml.MappingNode):
            kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            raise UserError(f"{path}: the file holds {kind}; expected a mapping with data:, worker:, trainer: ...")
        issues = [
            ConfigIssue((key,), f"{key} ({path} line {line}): set twice; line {first} has it already")
            for key, line, first in duplicate_keys(root)
        ]
        reader = _Reader(loader, lambda node: f"{path} line {line_of(node)}")
        reader.section("", root, root)
    except YamlProblem as error:
        place = f", line {error.line}" if error.line else ""
        place += f", column {error.column}" if error.column else ""
        raise UserError(f"{path}{place}: invalid YAML: {error.message}") from None
    return reader.assignments, issues + reader.issues


def read_overrides(overrides: Sequence[str]) -> tuple[list[Assignment], list[ConfigIssue]]:
    """Assignments of dotted overrides such as `worker.rollout.n=8`; values are YAML; the last one wins."""
    assignments, issues = [], []
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            message = f"{cut(repr(override))} ({COMMAND_LINE}): expected key=value, for example worker.rollout.n=8"
            issues.append(ConfigIssue((key,), message))
            continue
        option = schema_options(Config).get(ALIASES.get(key, key))
        try:
            loader, node = compose(text)
            reader = _Reader(loader, lambda node: COMMAND_LINE)
            if node is None:
                node = yaml.ScalarNode("tag:yaml.org,2002:null", "", yaml.Mark("", 0, 0, 0, None, 0))
            if option and option.is_text and not option.optional and is_null(node) and not node.value:
                node.tag = "tag:yaml.org,2002:str"  # `key=` is an empty text
            duplicates = duplicate_keys(node, f"{key}.")
            issues += [ConfigIssue((name,), f"{name} ({COMMAND_LINE}): set twice") for name, _, _ in duplicates]
            reader.entry(key, node, node)
            assignments += reader.assignments
            issues += reader.issues
        except YamlProblem as error:
            if option and option.is_text:  # such as *visual*, which YAML would take for an alias
                assignments.append(Assignment(key, text.strip(), COMMAND_LINE))
            else:
                message = f"{key} = {cut(text)} ({COMMAND_LINE}): invalid YAML: {error.message}; does it need quotes?"
                issues.append(ConfigIssue((key,), message))
    return assignments, issues


def unknown_key(key: str, origin: str, is_mapping: bool = False) -> ConfigIssue:
    """The issue of a key that the schema does not have; it names the nearest right one."""
    options, sections = schema_options(Config), schema_sections(Config)
    key = cut(key)
    last = key.rpartition(".")[2]
    if reason := FORKS.get(last) or GONE.get(last):
        return ConfigIssue((key,), f"{key} ({origin}): {reason}")
    leaves, branches = list(options), list(sections)
    nearest = nearest_key(key, branches + leaves if is_mapping else leaves + branches)
    if nearest:
        return ConfigIssue((key, nearest), f"{key} ({origin}): unknown key; did you mean {nearest}?")
    parent = key.rpartition(".")[0]
    while parent and parent not in sections:
        parent = parent.rpartition(".")[0]
    prefix = f"{parent}." if parent else ""
    names = [name[len(prefix) :] for name in branches + leaves if name.startswith(prefix)]
    known = ", ".join(name for name in names if "." not in name)
    return ConfigIssue((key,), f"{key} ({origin}): unknown key; {parent or 'the top level'} has {known}")


class _Reader:
    """Walks a YAML tree along the schema."""

    def __init__(self, loader: Loader, origin: Callable[[yaml.Node], str]) -> None:
        self.loader, self.origin = loader, origin
        self.assignments: list[Assignment] = []
        self.issues: list[ConfigIssue] = []

    def entry(self, key: str, key_node: yaml.Node, node: yaml.Node) -> None:
        """Reads one key, whatever it is in the schema."""
        options = schema_options(Config)
        if key in schema_sections(Config):
            self.section(key, key_node, node)
        elif option := options.get(ALIASES.get(key, key)):
            value = construct(self.loader, node, as_text=option.is_text)
            if is_nothing(node) and (option.optional or option.null is not None):
                value = option.null
            self.assignments.append(Assignment(key, value, self.origin(key_node)))
        elif key in DERIVED:
            self.assignments.append(Assignment(key, construct(self.loader, node), self.origin(key_node)))
        elif owner := _free_form_owner(key):
            value: Any = construct(self.loader, node)
            for name in reversed(key[len(owner) + 1 :].split(".")):
                value = {name: value}
            self.assignments.append(Assignment(owner, value, self.origin(key_node)))
        else:
            self.issues.append(unknown_key(key, self.origin(key_node), isinstance(node, yaml.MappingNode)))

    def section(self, key: str, key_node: yaml.Node, node: yaml.Node) -> None:
        """Reads a section: a mapping, nothing (all defaults), or an interpolation of another section."""
        if is_null(node):
            return
        if isinstance(node, yaml.ScalarNode) and "${" in node.value:
            self.assignments.append(Assignment(key, node.value, self.origin(key_node)))
            return
        if not isinstance(node, yaml.MappingNode):
            names = [name[len(key) + 1 :] for name in schema_options(Config) if name.startswith(f"{key}.")]
            message = f"{key} ({self.origin(key_node)}): expected a section with keys such as {', '.join(names[:3])}"
            self.issues.append(ConfigIssue((key,), message))
            return
        for name, name_node, child in entries(self.loader, node):
            if "." in name or not name:
                message = (
                    f"{name!r} ({self.origin(name_node)}): dotted keys are for the command line; nest it in a file"
                )
                self.issues.append(ConfigIssue((name,), message))
                continue
            self.entry(f"{key}.{name}" if key else name, name_node, child)


def _free_form_owner(key: str) -> str | None:
    """The free-form mapping that `key` points into (`worker.rollout.val_override_config.n`), else None."""
    return next(
        (name for name, option in schema_options(Config).items() if option.is_mapping and key.startswith(f"{name}.")),
        None,
    )


def _read_text(path: Path) -> str:
    if not path.exists():
        raise UserError(f"{path}: no such file{_yaml_files_near(path)}")
    if not path.is_file():
        raise UserError(f"{path}: this is a folder; expected a YAML file{_yaml_files_near(path / 'config.yaml')}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: {path.stat().st_size} bytes is no configuration file; at most {MAX_BYTES}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _yaml_files_near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"; the folder {folder} does not exist either"
    names = sorted(name for name in os.listdir(folder) if name.endswith((".yaml", ".yml")))
    near = nearest_names(path.name, names) or names[:5]
    return f"; {folder} has {', '.join(near)}" if near else f"; {folder} holds no YAML file"
