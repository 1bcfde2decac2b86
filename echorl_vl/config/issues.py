"""Issues found in a configuration, collected and then reported together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from echorl_vl.errors import UserError, show

from .dump import get_value


@dataclass(frozen=True)
class ConfigIssue:
    """One issue: the dotted keys that it concerns, and the line that the user reads."""

    keys: tuple[str, ...]
    message: str


def at(config: Any, key: str) -> str:
    """Format a key of a Config with its value and origin."""
    return f"{key} = {show(get_value(config, key))} ({config.origin(key)})"


def issue_at(config: Any, key: str, why: str, *more: str) -> ConfigIssue:
    """The issue of one value of a Config; `more` are the keys that it depends on."""
    return ConfigIssue((key, *more), f"{at(config, key)}: {why}")


def invalid_value(key: str, value: Any, origin: str, expected: str) -> ConfigIssue:
    """The issue of a value that has an invalid type or is out of range."""
    return ConfigIssue((key,), f"{key} = {show(value)} ({origin}): expected {expected}")


def raise_if_any(issues: Iterable[ConfigIssue]) -> None:
    """Raise one UserError that lists every distinct issue, one per line, if there are any."""
    lines = list(dict.fromkeys(issue.message for issue in issues))
    if len(lines) == 1:
        raise UserError(lines[0])
    if lines:
        raise UserError("\n".join([f"{len(lines)} problems in the configuration:", *(f"  {line}" for line in lines)]))
