"""`load_config`: file + overrides -> a checked Config. Every mistake is found before anything else is loaded."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from echorl_vl.algorithms import ALGORITHMS
from echorl_vl.core.config import EchoConfigError
from echorl_vl.places import split_places

from .check import general_issues
from .convert import WrongType, convert, type_text
from .dump import config_to_dict
from .interpolate import has_interpolation, resolve
from .issues import ConfigIssue, raise_if_any, show, wrong_value
from .limits import text_fault
from .names import ALIASES, DERIVED, REFUSED_VALUES
from .options import field_hints, schema_options, schema_sections
from .paths import PATHS, PROBLEM_SETS, SELECTOR, resolve_function, resolve_paths
from .read import Assignment, read_file, read_overrides, unknown_key
from .schema import ENGINES, Config, Source


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file, applies dotted overrides (`worker.rollout.n=8`), checks everything.

    Relative paths in it become absolute where something exists there (see `paths`).

    Raises:
        UserError: lists all issues, those of the engine that `engine` names among them, one on a line, each with the
            key, where it was set, the value and what is expected.
        RuntimeError: `echorl_vl.engines`, which says what engines there are, has not been imported.
    """
    if not ENGINES:
        raise RuntimeError("no engine is registered: import echorl_vl.engines before load_config")
    path = Path(path).expanduser()
    from_file, issues = read_file(path)
    from_command_line, more = read_overrides(overrides)
    issues += more
    assignments = _with_presets(*(_without_aliases(layer, issues) for layer in (from_file, from_command_line)))
    derived = {one.key: (one.value, one.origin) for one in assignments if one.key in DERIVED}
    tree, origins = _merge([one for one in assignments if one.key not in DERIVED], issues)
    _resolve_interpolations(tree, origins, issues)
    values = _convert_all(tree, origins, issues)
    if SELECTOR in values:  # EchoConfig looks the selector up when it is made
        values[SELECTOR] = resolve_function(values[SELECTOR], path.parent)
    config = _build(values, origins, issues)
    config.source = Source(path, origins, derived)
    resolve_paths(config, path.parent)
    # A key that is wrong already stands at its default here: what follows from that would be noise.
    known = {key for issue in issues for key in issue.keys}
    engine = ENGINES.get(config.engine)
    found = general_issues(config) + (engine.issues(config) if engine else [])
    issues += [issue for issue in found if not known.intersection(issue.keys)]
    raise_if_any(issues)
    return config


def _without_aliases(assignments: list[Assignment], issues: list[ConfigIssue]) -> list[Assignment]:
    """Assignments of the file, or of the command line, to keys by their own names."""
    last = {one.key: one for one in assignments}
    for alias, key in ALIASES.items():
        if alias in last and key in last and last[alias].value != last[key].value:
            both = [f"{name} = {show(last[name].value)} ({last[name].origin})" for name in (key, alias)]
            message = f"{' and '.join(both)}: two names of one key; expected one of them, or equal values"
            issues.append(ConfigIssue((key, alias), message))
    return [replace(one, key=ALIASES.get(one.key, one.key)) for one in assignments]


def _with_presets(*layers: list[Assignment]) -> list[Assignment]:
    """All assignments of the file, then of the command line, in order of precedence: the last one wins.

    `algorithm.name` stands for the keys that define the algorithm. They take effect where the name is set, before the
    keys beside it: in a file, each key of the file wins over them; on the command line they win over the file, and each
    key of the command line over them. Two names: the last one counts, and the options that stand in the file beside the
    first one go with it.
    """
    name = "algorithm.name"
    named = [(number, one) for number, layer in enumerate(layers) for one in layer if one.key == name]
    merged: list[Assignment] = []
    for number, layer in enumerate(layers):
        if named and named[-1][0] == number:
            chosen = named[-1][1]
            algorithm = ALGORITHMS.get(chosen.value) if isinstance(chosen.value, str) else None
            origin = f"{name} = {chosen.value}, {chosen.origin}"
            merged += [Assignment(key, value, origin) for key, value in (algorithm.preset if algorithm else {}).items()]
        superseded = bool(named) and number < named[-1][0]
        merged += [one for one in layer if not (superseded and one.key == "algorithm.options")]
    return merged


def _merge(assignments: list[Assignment], issues: list[ConfigIssue]) -> tuple[dict[str, Any], dict[str, str]]:
    """Defaults, overlaid with the assignments in order: nested plain values, and dotted key -> origin."""
    tree = config_to_dict(Config())
    origins: dict[str, str] = {}
    for assignment in assignments:
        *parents, name = assignment.key.split(".")
        holder: Any = tree
        for parent in parents:
            holder = holder[parent] if isinstance(holder, dict) else holder
        if not isinstance(holder, dict):
            message = (
                f"{assignment.key} ({assignment.origin}): cannot be set, its section is the interpolation {holder}"
            )
            issues.append(ConfigIssue((assignment.key,), message))
            continue
        for key in [key for key in origins if key.startswith(f"{assignment.key}.")]:
            del origins[key]
        if isinstance(holder.get(name), dict) and isinstance(assignment.value, dict):
            _merge_mapping(holder[name], assignment.value)
        else:
            holder[name] = copy.deepcopy(assignment.value)
        origins[assignment.key] = assignment.origin
    return tree, origins


def _merge_mapping(target: dict, source: dict) -> None:
    for key, value in source.items():
        if isinstance(target.get(key), dict) and isinstance(value, dict):
            _merge_mapping(target[key], value)
        else:
            target[key] = copy.deepcopy(value)


def _resolve_interpolations(tree: dict[str, Any], origins: dict[str, str], issues: list[ConfigIssue]) -> None:
    """Replaces interpolated values in `tree`; the ones that fail go back to their defaults and are reported."""
    pending = {key: value for key in origins if has_interpolation(value := _get(tree, key))}
    if not pending:
        return
    defaults = config_to_dict(Config())
    for key in pending:
        _set(tree, key, _get(defaults, key))
    resolved, failed = resolve(tree, pending, origins)
    issues += failed
    for key, value in resolved.items():
        _set(tree, key, value)


def _convert_all(tree: dict[str, Any], origins: dict[str, str], issues: list[ConfigIssue]) -> dict[str, Any]:
    """Dotted key -> value of the field's type; wrong types and values out of range are reported and left out."""
    values = {}
    options = schema_options(Config)
    for key in _unknown_in(tree, ""):
        issues.append(unknown_key(key, _origin(origins, key)))
    for key, option in options.items():
        value = _get(tree, key)
        expected = str(option.range) or type_text(option.hint)
        try:
            converted = convert(value, option.hint)
        except WrongType as error:
            issues.append(wrong_value(key, value, _origin(origins, key), str(error)))
            continue
        special, why = REFUSED_VALUES.get(key, (None, ""))
        if special is not None and converted == special:
            expected += f" ({why})"
        if value == "???":
            issues.append(wrong_value(key, value, _origin(origins, key), f"a value ({type_text(option.hint)})"))
        elif not option.range.accepts(converted):
            issues.append(wrong_value(key, value, _origin(origins, key), expected))
        elif fault := _text_fault(key, converted):
            issues.append(ConfigIssue((key,), f"{key} = {show(value)} ({_origin(origins, key)}): expected {fault}"))
        else:
            values[key] = None if option.optional and converted == "" else converted
    return values


def _text_fault(key: str, value: Any) -> str | None:
    """What is wrong with a text, or with the first bad one of the places of problems; None: nothing."""
    texts = split_places(value) if key in PROBLEM_SETS else [value]
    faults = (text_fault(text, key in PATHS) for text in texts if isinstance(text, str))
    return next(filter(None, faults), None)


def _build(values: dict[str, Any], origins: dict[str, str], issues: list[ConfigIssue]) -> Config:
    """The Config of the converted values; a section's own validation (EchoConfig) is reported by key."""
    sections = schema_sections(Config)

    def make(cls: type, prefix: str) -> Any:
        arguments = {}
        for name in field_hints(cls):
            key = prefix + name
            if key in sections:
                arguments[name] = make(sections[key][0], f"{key}.")
            elif key in values:
                arguments[name] = values[key]
        while True:
            try:
                return cls(**arguments)
            except EchoConfigError as error:
                if error.field not in arguments:  # reported and dropped before, and its default is no better
                    return cls()
                key = f"{prefix}{error.field}"
                issues.append(ConfigIssue((key,), f"{error} ({_origin(origins, key)})"))
                del arguments[error.field]  # another field may be wrong as well

    return make(Config, "")


def _unknown_in(tree: dict[str, Any], prefix: str) -> list[str]:
    """Keys of a resolved tree that the schema does not have (a section interpolated from one of another kind)."""
    options, sections = schema_options(Config), schema_sections(Config)
    found = []
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key in sections and isinstance(value, dict):
            found += _unknown_in(value, f"{key}.")
        elif key not in options and key not in sections:
            found.append(key)
    return found


def _origin(origins: dict[str, str], key: str) -> str:
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return "default"


def _get(tree: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        if not isinstance(tree, dict):
            return None
        tree = tree.get(name)
    return tree


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, name = key.split(".")
    for parent in parents:
        tree = tree[parent]
    tree[name] = value
