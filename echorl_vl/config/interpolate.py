"""OmegaConf interpolations in values: `${data.seed}` and `${oc.env:HOME}`. No other resolver runs."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .issues import ConfigIssue

RESOLVERS = ("oc.env", "oc.select")


def has_interpolation(value: Any) -> bool:
    """True where a text anywhere in `value` holds `${`."""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, dict):
        return any(has_interpolation(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(has_interpolation(item) for item in value)


def foreign_resolvers(value: Any) -> list[str]:
    """Names of resolvers in `value` that are not allowed; a name that is computed counts as one."""
    if isinstance(value, dict):
        return [name for item in value.values() for name in foreign_resolvers(item)]
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in foreign_resolvers(item)]
    if not isinstance(value, str):
        return []
    found, literal = [], True
    for opening in re.finditer(r"(\\*)\$\{", value):
        # `\${` is literal text, but only before the first real interpolation: after it, escapes are not trusted.
        literal = literal and len(opening.group(1)) % 2 == 1
        name = None if literal else _resolver_name(value, opening.end())
        if name is not None and name not in RESOLVERS:
            found.append(name)
    return found


def _resolver_name(text: str, start: int) -> str | None:
    """What stands before the first colon of the interpolation whose body begins at `start`; None without a colon."""
    depth = 0
    for position in range(start, len(text)):
        if text.startswith("${", position):
            depth += 1
        elif text[position] == "}":
            if depth == 0:
                return None
            depth -= 1
        elif text[position] == ":" and depth == 0:
            return text[start:position].strip()
    return None


def resolve(
    tree: dict[str, Any], values: dict[str, Any], origins: dict[str, str]
) -> tuple[dict[str, Any], list[ConfigIssue]]:
    """Resolves `values` (dotted key -> value with interpolations) against the whole nested `tree`.

    Returns the resolved values of the keys that worked, and an issue for each of the others.
    """
    config = OmegaConf.create(tree)
    issues: list[ConfigIssue] = []
    placed = []
    for key, value in values.items():
        if foreign := foreign_resolvers(value):
            allowed = ", ".join(RESOLVERS)
            message = f"{key} ({origins[key]}): the resolver {foreign[0]!r} is not allowed; only {allowed} are"
            issues.append(ConfigIssue((key,), message))
            continue
        try:
            OmegaConf.update(config, key, value, merge=False)
            placed.append(key)
        except (OmegaConfBaseException, RecursionError) as error:
            issues.append(_failed(key, value, origins[key], error))
    resolved = {}
    for key in placed:
        try:
            result = OmegaConf.select(config, key)
            if OmegaConf.is_config(result):
                result = OmegaConf.to_container(result, resolve=True)
            resolved[key] = result
        except (OmegaConfBaseException, RecursionError) as error:
            issues.append(_failed(key, values[key], origins[key], error))
    return resolved, issues


def _failed(key: str, value: Any, origin: str, error: Exception) -> ConfigIssue:
    reason = str(error).split("\n", 1)[0]
    if isinstance(error, RecursionError) or "recursi" in reason.lower():
        reason = "it refers to itself"
    return ConfigIssue((key,), f"{key} = {value} ({origin}): {reason}")
