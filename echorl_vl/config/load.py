"""`load_config`: file + overrides -> a validated Config. All issues are found before anything else is loaded.

The command line overrides the file, and both the defaults; OmegaConf resolves interpolations; pydantic validates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar_parser import parse
from pydantic import ValidationError

from echorl_vl.algorithms import ALGORITHMS
from echorl_vl.core.config import EchoConfigError
from echorl_vl.places import find_path, resolve_function, resolve_problems

from .dump import config_to_dict
from .engines import ENGINES, key_names
from .fields import NotExpected, schema_options, schema_sections
from .issues import ConfigIssue, cut, invalid_value, raise_if_any, show
from .names import ALIASES
from .read import Assignment, read_file, read_overrides, unknown_key
from .schema import Config, Source

RESOLVERS = ("oc.env", "oc.select")
NAME = "algorithm.name"
RANGE_ERRORS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "literal_error")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply dotted overrides (`worker.rollout.n=8`) and validate everything.

    Relative paths become absolute if something exists there (see `echorl_vl.places`).

    Args:
        path: The YAML file.
        overrides: Assignments such as `worker.rollout.n=8`. They override the file.

    Returns:
        The configuration; `Config.origin` says where each value came from.

    Raises:
        UserError: There are issues. The message lists all of them, one per line, each with the key, its origin, the
            value and what is expected.
        RuntimeError: `echorl_vl.engines`, which registers the engines, has not been imported.
    """
    if not ENGINES:
        raise RuntimeError("no engine is registered: import echorl_vl.engines before load_config")
    path = Path(path).expanduser()
    issues: list[ConfigIssue] = []
    layers = [read_file(path, issues), read_overrides(overrides, issues)]
    assignments = _with_presets([_without_aliases(layer, issues) for layer in layers])
    derived_keys = key_names().derived
    derived = {one.key: (one.value, one.origin) for one in assignments if one.key in derived_keys}
    tree, origins = _merge([one for one in assignments if one.key not in derived], issues)
    _resolve_paths(tree, path.parent)
    config = _validate(tree, Source(path, origins, derived), issues)
    # An invalid key has its default value here: issues that follow from the default would be noise.
    known = {key for issue in issues for key in issue.keys}
    any_engine = next(iter(ENGINES.values()))
    found = any_engine.general_issues(config) + (
        ENGINES[config.engine].issues(config) if config.engine in ENGINES else []
    )
    raise_if_any(issues + [issue for issue in found if not known.intersection(issue.keys)])
    return config


def _without_aliases(assignments: list[Assignment], issues: list[ConfigIssue]) -> list[Assignment]:
    """Replace older names of keys in the assignments of one layer."""
    last = {one.key: one for one in assignments}
    for alias, key in ALIASES.items():
        if alias in last and key in last and last[alias].value != last[key].value:
            both = [f"{name} = {show(last[name].value)} ({last[name].origin})" for name in (key, alias)]
            message = f"{' and '.join(both)}: two names of one key; expected one of them, or equal values"
            issues.append(ConfigIssue((key, alias), message))
    return [replace(one, key=ALIASES.get(one.key, one.key)) for one in assignments]


def _with_presets(layers: list[list[Assignment]]) -> list[Assignment]:
    """Concatenate the layers, file and command line, in order of precedence: the last assignment wins.

    `algorithm.name` sets the keys that define the algorithm. They come before the other keys of its layer: keys of the
    file override the preset of a name in the file, and the preset of a name on the command line overrides the file. If
    both layers name an algorithm, the options that the file gives to its own one are dropped.
    """
    named = [(number, one) for number, layer in enumerate(layers) for one in layer if one.key == NAME]
    merged: list[Assignment] = []
    for number, layer in enumerate(layers):
        if named and named[-1][0] == number:
            name = named[-1][1]
            algorithm = ALGORITHMS.get(name.value) if isinstance(name.value, str) else None
            preset = algorithm.preset if algorithm else {}
            merged += [Assignment(key, value, f"{NAME} = {name.value}, {name.origin}") for key, value in preset.items()]
        replaced = bool(named) and number < named[-1][0]
        merged += [one for one in layer if not (replaced and one.key == "algorithm.options")]
    return merged


def _merge(assignments: list[Assignment], issues: list[ConfigIssue]) -> tuple[dict[str, Any], dict[str, str]]:
    """Apply the assignments to the defaults and resolve interpolations; also return dotted key -> origin."""
    tree, origins = config_to_dict(Config()), {}
    for one in assignments:
        holder, value = _find(tree, one.key)
        if fault := _interpolation_fault(one.value):
            issues.append(ConfigIssue((one.key,), f"{one.key} = {cut(str(one.value))} ({one.origin}): {fault}"))
        elif holder is None:
            message = f"{one.key} ({one.origin}): cannot be set, its section is an interpolation or a value"
            issues.append(ConfigIssue((one.key,), message))
        else:
            both = isinstance(value, dict) and isinstance(one.value, dict)
            holder[one.key.rpartition(".")[2]] = _overlaid(value, one.value) if both else one.value
            origins = {key: origin for key, origin in origins.items() if not key.startswith(f"{one.key}.")}
            origins[one.key] = one.origin
    _resolve(tree, origins, issues)
    return tree, origins


def _overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge two mappings recursively; entries of `above` win."""
    nested = {
        key for key in above.keys() & below.keys() if isinstance(above[key], dict) and isinstance(below[key], dict)
    }
    return {**below, **above, **{key: _overlaid(below[key], above[key]) for key in nested}}


def _resolve(tree: dict[str, Any], origins: dict[str, str], issues: list[ConfigIssue]) -> None:
    """Resolve the interpolations in a tree, in place. A key that fails gets its default."""
    keys = [key for key in origins if "${" in str(_find(tree, key)[1])]
    whole = OmegaConf.create(tree) if keys else None
    for key in keys:
        holder, given = _find(tree, key)
        try:
            value = OmegaConf.select(whole, key)
            value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except (OmegaConfBaseException, RecursionError) as error:
            reason = str(error).split("\n", 1)[0]
            if isinstance(error, RecursionError) or "recursi" in reason.lower():
                reason = "it refers to itself"
            issues.append(ConfigIssue((key,), f"{key} = {given} ({origins[key]}): {reason}"))
            value = _find(config_to_dict(Config()), key)[1]
        holder[key.rpartition(".")[2]] = value


def _interpolation_fault(value: Any) -> str | None:
    """Describe what is invalid about the interpolations of a value: syntax, or a resolver that is not allowed."""
    if isinstance(value, (dict, list)):
        items = value.values() if isinstance(value, dict) else value
        return next(filter(None, map(_interpolation_fault, items)), None)
    if not isinstance(value, str) or "${" not in value:
        return None
    try:
        nodes = [parse(value)]
    except (OmegaConfBaseException, RecursionError) as error:
        return str(error).split("\n", 1)[0]
    for node in nodes:
        if hasattr(node, "resolverName") and (name := node.resolverName().getText()) not in RESOLVERS:
            return f"the resolver {name!r} is not allowed; only {', '.join(RESOLVERS)} are"
        nodes += getattr(node, "children", None) or []
    return None


def _resolve_paths(tree: dict[str, Any], folder: Path) -> None:
    """Make every existing path of a tree absolute, in place."""
    resolve = {"problems": resolve_problems, "function": resolve_function, "selector": resolve_function}
    for key, option in schema_options(Config).items():
        holder, value = _find(tree, key)
        is_text = isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        if value and is_text and option.place in resolve:
            holder[option.name] = resolve[option.place](value, folder)
        elif value and is_text and option.place == "input":
            holder[option.name] = find_path(value, folder) or value


def _validate(tree: dict[str, Any], source: Source, issues: list[ConfigIssue]) -> Config:
    """Build the Config of a tree. Invalid keys are reported and get their defaults."""
    while True:
        try:
            config = Config.model_validate(tree)
            config.source = source
            return config
        except ValidationError as error:
            for key, issue in dict(_issues_of(error, tree, source.origin)).items():
                issues.append(issue)
                holder, _ = _find(tree, key)
                section, _, name = key.rpartition(".")
                if name not in holder:  # the issue remains without the key: drop the whole section
                    holder, name = _find(tree, section)[0], section.rpartition(".")[2]
                del holder[name]


def _issues_of(
    error: ValidationError, tree: dict[str, Any], origin_of: Callable[[str], str]
) -> Iterator[tuple[str, ConfigIssue]]:
    """Yield each invalid key with its issue."""
    options, sections = schema_options(Config), schema_sections(Config)
    for one in error.errors(include_url=False):
        names = [str(name) for name in one["loc"]]
        paths = [".".join(names[: end + 1]) for end in range(len(names))]
        key = next((path for path in paths if path not in sections), paths[-1])
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, EchoConfigError):
            key = f"{key}.{cause.field}"
        origin, value = origin_of(key), one["input"]
        option = options.get(key)
        if isinstance(cause, EchoConfigError):
            issue = ConfigIssue((key,), f"{cause} ({origin})")
        elif key in sections:
            keys = [name[len(key) + 1 :] for name in options if name.startswith(f"{key}.")]
            issue = ConfigIssue((key,), f"{key} ({origin}): expected a section with keys such as {', '.join(keys[:3])}")
        elif option is None:
            issue = unknown_key(key, origin)
        else:
            expected = option.range if one["type"] in RANGE_ERRORS else option.type_text
            expected = str(cause) if isinstance(cause, NotExpected) else expected
            special, why = key_names().refused.get(key, (None, ""))
            why = f" ({why})" if special is not None and value == special else ""
            issue = invalid_value(key, _find(tree, key)[1], origin, expected + why)
        yield key, issue


def _find(tree: dict[str, Any], key: str) -> tuple[dict[str, Any] | None, Any]:
    """Find the mapping that holds a dotted key (None if a parent is no mapping) and the value of the key."""
    *parents, name = key.split(".")
    for parent in parents:
        if not isinstance(tree := tree.get(parent), dict):
            return None, None
    return tree, tree.get(name)
