"""The nearest right name for a key that the schema does not know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .names import KNOWN_AS

SIMILAR = 0.8  # of two last parts: `topp` and `top_p` are, `aug_entropy_loss_coef` and `kl_coef` are not


def nearest_key(key: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a dotted `key` was meant for, or None where nothing is close.

    In this order: one letter less, more or other anywhere in the path; a name of another trainer or of an earlier
    version; `_` for a dot; a last part that is the same or similar. A shared beginning says nothing: two keys of one
    section have it too. Of equally close ones the first wins.
    """
    key = key.strip().lstrip("+-~")
    candidates = list(candidates)
    last = key.rpartition(".")[2]
    flat = key.replace(".", "_")
    if slips := [name for name in candidates if _is_slip(key, name)]:
        return _closest(key, slips)
    if tail := KNOWN_AS.get(key) or KNOWN_AS.get(last):
        return _closest(key, [name for name in candidates if _ends_with(name, tail, ".")])
    if tails := [name for name in candidates if _ends_with(name.replace(".", "_"), flat, "_")]:
        return _closest(key, tails)
    scored = [(_ratio(last, name.rpartition(".")[2]), name) for name in candidates]
    best = max((score for score, _ in scored), default=0)
    return _closest(key, [name for score, name in scored if score == best]) if best >= SIMILAR else None


def _is_slip(key: str, name: str) -> bool:
    """Whether one letter is missing, added, replaced or swapped with its neighbour."""
    if abs(len(key) - len(name)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(key, name, strict=False)) if a != b), min(len(key), len(name)))
    a, b = key[start:], name[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def _closest(key: str, names: list[str]) -> str | None:
    return max(names, key=lambda name: _ratio(key, name), default=None)


def _ratio(word: str, other: str) -> float:
    """Similarity in [0, 1]."""
    return difflib.SequenceMatcher(None, other, word, autojunk=False).ratio()


def _ends_with(whole: str, tail: str, joint: str) -> bool:
    return whole == tail or whole.endswith(joint + tail)


def nearest_names(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of `names` that are spelled like `name`, closest first."""
    return difflib.get_close_matches(name, list(names), n=count, cutoff=0.75)
