"""Other names of keys (older ones, those of other trainers), and suggestions for unknown keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .engines import key_names

ALIASES: dict[str, str] = {"data.trace_key": "data.demonstration_key"}
"""Older name of a key, still accepted -> the key."""

TRL = {"learning_rate": "optim.lr", "num_generations": "rollout.n"}  # it is no engine, and has these keys
PAPER = {"echo.lambda": "echo.coef"}
SIMILAR = 0.8  # of two last parts: `topp` and `top_p` are, `aug_entropy_loss_coef` and `kl_coef` are not


def nearest_key(key: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a dotted `key` was meant for, or None where nothing is close.

    In this order: one letter less, more, other or swapped anywhere in the path; a name of another framework; `_` for a
    dot; a last part that is the same or similar. A shared beginning says nothing: two keys of one section have it too.
    """
    key, candidates = key.strip().lstrip("+-~"), list(candidates)
    last = key.rpartition(".")[2]
    renamed = {**TRL, **PAPER, **key_names().renamed}
    if slips := difflib.get_close_matches(key, candidates, n=1, cutoff=1 - 1.01 / max(2, len(key))):
        return slips[0]
    if tail := renamed.get(key) or renamed.get(last):
        return _closest(key, [name for name in candidates if f".{name}".endswith(f".{tail}")])
    flat = "_" + key.replace(".", "_")
    if tails := [name for name in candidates if ("_" + name.replace(".", "_")).endswith(flat)]:
        return _closest(key, tails)
    scores = {name: _ratio(last, name.rpartition(".")[2]) for name in candidates}
    best = max(scores.values(), default=0)
    return _closest(key, [name for name in candidates if scores[name] == best]) if best >= SIMILAR else None


def nearest_names(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of `names` that are spelled like `name`, closest first."""
    return difflib.get_close_matches(name, list(names), n=count, cutoff=0.75)


def _closest(key: str, names: list[str]) -> str | None:
    return max(names, key=lambda name: _ratio(key, name), default=None)


def _ratio(word: str, other: str) -> float:
    """Similarity in [0, 1]."""
    return difflib.SequenceMatcher(None, other, word, autojunk=False).ratio()
