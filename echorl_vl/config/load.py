"""`load_config`: file + overrides -> a validated Config. All issues are found before anything else is loaded.

The command line overrides the file, and both the defaults; OmegaConf resolves interpolations; pydantic validates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from echorl_vl.algorithms import ALGORITHMS
from echorl_vl.core.config import EchoConfigError
from echorl_vl.errors import cut, show
from echorl_vl.safe_yaml import interpolation_fault

from .dump import config_to_dict, put
from .fields import LIMITS
from .issues import ConfigIssue, invalid_value, raise_if_any
from .names import ALIASES, ENGINES, key_names
from .read import Assignment, read_file, read_overrides, unknown_key
from .schema import OPTIONS, SECTIONS, Config, Source

NAME = "algorithm.name"
RANGE = {*LIMITS, "expected"}  # in the context of pydantic's errors on limits and choices


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
    assignments = _with_presets(*(_without_aliases(layer, issues) for layer in layers))
    derived_keys = key_names("derived")
    derived = {one.key: (one.value, one.origin) for one in assignments if one.key in derived_keys}
    given = _merge([one for one in assignments if one.key not in derived], issues)
    source = Source(path.parent, {key: one.origin for key, one in given.items()}, derived)
    config = _validate(_resolve(given, issues), source, issues)
    # An invalid key has its default value here: issues that follow from the default would be noise.
    known = {key for issue in issues for key in issue.keys}
    any_engine, engine = next(iter(ENGINES.values())), ENGINES.get(config.engine)
    found = [*any_engine.general_issues(config), *(engine.issues(config) if engine else [])]
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


def _with_presets(file: list[Assignment], command_line: list[Assignment]) -> list[Assignment]:
    """Concatenate the layers in order of precedence: the last assignment wins.

    `algorithm.name` sets the keys that define the algorithm. They come before the other keys of its layer: keys of the
    file override the preset of a name in the file, and the preset of a name on the command line overrides the file. If
    the command line names an algorithm, the options that the file gives to its own one are dropped.
    """
    if any(one.key == NAME for one in command_line):
        file = [one for one in file if one.key != "algorithm.options"]
        return [*file, *_preset(command_line), *command_line]
    return [*_preset(file), *file, *command_line]


def _preset(layer: list[Assignment]) -> list[Assignment]:
    """The keys that the algorithm of a layer sets."""
    name = next((one for one in reversed(layer) if one.key == NAME), None)
    algorithm = ALGORITHMS.get(name.value) if name and isinstance(name.value, str) else None
    preset = algorithm.preset if algorithm else {}
    return [Assignment(key, value, f"{NAME} = {name.value}, {name.origin}") for key, value in preset.items()]


def _merge(assignments: list[Assignment], issues: list[ConfigIssue]) -> dict[str, Assignment]:
    """The last assignment of each key. Two mappings are merged; a section replaces its keys."""
    given: dict[str, Assignment] = {}
    for one in assignments:
        key, below = one.key, given.get(one.key)
        if fault := interpolation_fault(one.value):
            issues.append(ConfigIssue((key,), f"{key} = {cut(str(one.value))} ({one.origin}): {fault}"))
        elif any(key.startswith(f"{section}.") for section in SECTIONS.keys() & given.keys()):
            message = f"{key} ({one.origin}): cannot be set, its section is an interpolation or a value"
            issues.append(ConfigIssue((key,), message))
        else:
            merged = replace(one, value=_overlaid(below.value if below else None, one.value))
            given = {other: old for other, old in given.items() if not other.startswith(f"{key}.")} | {key: merged}
    return given


def _overlaid(below: Any, above: Any) -> Any:
    """Merge mappings recursively; other values of `above` win."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: _overlaid(below.get(key), value) for key, value in above.items()}


def _resolve(given: dict[str, Assignment], issues: list[ConfigIssue]) -> dict[str, Any]:
    """The values of all keys, interpolations resolved. A key that fails is left out, so it gets its default."""
    values = {key: one.value for key, one in given.items()}
    keys = [key for key, value in values.items() if "${" in str(value)]
    tree = OmegaConf.create(put(config_to_dict(Config()), values)) if keys else None
    for key in keys:
        try:
            value = OmegaConf.select(tree, key)
            values[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except (OmegaConfBaseException, RecursionError) as error:
            itself = isinstance(error, RecursionError) or "recursi" in str(error).lower()
            reason = "it refers to itself" if itself else str(error).split("\n", 1)[0]
            issues.append(ConfigIssue((key,), f"{key} = {values.pop(key)} ({given[key].origin}): {reason}"))
    return values


def _validate(values: dict[str, Any], source: Source, issues: list[ConfigIssue]) -> Config:
    """Build the Config. Invalid keys are reported and get their defaults."""
    while True:
        try:
            tree = put({}, values)
            config = Config.model_validate(tree, context=source.folder)
            config._source = source
            return config
        except ValidationError as error:
            found = dict(_issues_of(error, tree, source))
            issues += found.values()
            invalid = {given for key in found for given in _given_for(key, values)}
            values = {key: value for key, value in values.items() if key not in invalid}


def _given_for(key: str, values: Mapping[str, Any]) -> list[str]:
    """The given keys that an invalid key comes from: itself and those below it, or those of its section."""
    given = [one for one in values if f"{one}.".startswith(f"{key}.")]
    return given or _given_for(key.rpartition(".")[0], values)


def _issues_of(error: ValidationError, tree: dict[str, Any], source: Source) -> Iterator[tuple[str, ConfigIssue]]:
    """Yield each invalid key with its issue."""
    for one in error.errors(include_url=False):
        key, value = "", tree
        for name in one["loc"]:  # the key, and then the place in its value
            key, value = f"{key}.{name}".removeprefix("."), value[name]
            if key not in SECTIONS:
                break
        context = one.get("ctx", {})
        cause, origin, option = context.get("error"), source.origin(key), OPTIONS.get(key)
        if isinstance(cause, EchoConfigError):
            key = f"echo.{cause.field}"
            issue = ConfigIssue((key,), f"{cause} ({source.origin(key)})")
        elif key in SECTIONS:
            keys = [name[len(key) + 1 :] for name in OPTIONS if name.startswith(f"{key}.")]
            issue = ConfigIssue((key,), f"{key} ({origin}): expected a section with keys such as {', '.join(keys[:3])}")
        elif option is None:
            issue = unknown_key(key, origin)
        else:
            expected = cause or (option.range if RANGE & context.keys() else option.type_text)
            special, why = key_names("refused").get(key, (None, ""))
            why = f" ({why})" if special is not None and value == special else ""
            issue = invalid_value(key, value, origin, f"{expected}{why}")
        yield key, issue
