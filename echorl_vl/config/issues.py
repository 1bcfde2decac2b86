"""Mistakes found in a configuration: collected, then reported together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from echorl_vl.errors import UserError

from .dump import get_value


@dataclass(frozen=True)
class ConfigIssue:
    """One mistake: the dotted keys that it is about, and the line that the user reads."""

    keys: tuple[str, ...]
    message: str


def show(value: Any) -> str:
    """A value as it would stand in YAML, cut to 80 characters."""
    return cut(json.dumps(value, default=str, ensure_ascii=False))


def cut(text: str) -> str:
    """A text for a message, at most 80 characters of it."""
    return text if len(text) <= 80 else text[:77] + "..."


def at(config: Any, key: str) -> str:
    """A key of a Config with its value and where that came from."""
    return f"{key} = {show(get_value(config, key))} ({config.origin(key)})"


def issue_at(config: Any, key: str, why: str, *more: str) -> ConfigIssue:
    """The issue of one value of a Config; more: keys that it depends on."""
    return ConfigIssue((key, *more), f"{at(config, key)}: {why}")


def wrong_value(key: str, value: Any, origin: str, expected: str) -> ConfigIssue:
    """The issue of one value that has the wrong type or is out of range."""
    return ConfigIssue((key,), f"{key} = {show(value)} ({origin}): expected {expected}")


def raise_if_any(issues: Iterable[ConfigIssue]) -> None:
    """Raises one UserError that lists every distinct issue, one on a line; returns where there is none."""
    lines = list(dict.fromkeys(issue.message for issue in issues))
    if len(lines) == 1:
        raise UserError(lines[0])
    if lines:
        raise UserError("\n".join([f"{len(lines)} problems in the configuration:", *(f"  {line}" for line in lines)]))
