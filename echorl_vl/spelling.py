"""The key that a misspelled key was meant for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

SIMILAR = 0.8  # of two last parts: `topp` and `top_p` are, `aug_entropy_loss_coef` and `kl_coef` are not


def nearest_key(key: str, candidates: Iterable[str], renamed: Mapping[str, str] | None = None) -> str | None:
    """The candidate that a dotted `key` was meant for, or None where nothing is close.

    In this order: one letter less, more, other or swapped anywhere in the path; another name; `_` for a dot; a last
    part that is the same or similar. A shared beginning says nothing: two keys of one section have it too.

    Args:
        key: the misspelled key.
        candidates: the keys that there are.
        renamed: another name of a key, or its last part -> the key, or its last parts.
    """
    key, candidates = key.strip().lstrip("+-~"), list(candidates)
    last = key.rpartition(".")[2]
    if slips := difflib.get_close_matches(key, candidates, n=1, cutoff=1 - 1.01 / max(2, len(key))):
        return slips[0]
    if renamed and (tail := renamed.get(key) or renamed.get(last)):
        return _closest(key, [name for name in candidates if f".{name}".endswith(f".{tail}")])
    flat = "_" + key.replace(".", "_")
    if tails := [name for name in candidates if ("_" + name.replace(".", "_")).endswith(flat)]:
        return _closest(key, tails)
    scores = {name: _ratio(last, name.rpartition(".")[2]) for name in candidates}
    best = max(scores.values(), default=0)
    return _closest(key, [name for name in candidates if scores[name] == best]) if best >= SIMILAR else None


def _closest(key: str, names: list[str]) -> str | None:
    return max(names, key=lambda name: _ratio(key, name), default=None)


def _ratio(word: str, other: str) -> float:
    """Similarity in [0, 1]."""
    return difflib.SequenceMatcher(None, other, word, autojunk=False).ratio()
