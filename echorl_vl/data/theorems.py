"""Geometry3K's annotated solutions (FormalGeo): theorem calls, put in words, one step each."""

from __future__ import annotations

import re
from collections.abc import Sequence

# parallel_property_ipsilateral_internal_angle(1,ZY,WX): the theorem, which of its variants, what it is applied to
_CALL = re.compile(r"(?P<name>[a-z]\w*)\(\d+(?P<arguments>(?:,\w+)+)\)")
# The part of a name that says what kind of theorem it is; what stands behind it says which one.
_KIND = re.compile(r"^(?P<head>.*?_(?:property|judgment|formula|theorem))_(?P<tail>.+)$")
_PHRASES = {"par_par": "both parallel to a third line", "per_per": "both perpendicular to a third line"}
_WORDS = {word.lower(): word for word in ("AA", "AAS", "HL", "SAS", "SSS")}
_WORDS |= {"formular": "formula", "mid": "midpoint", "par": "parallel", "per": "perpendicular"}


def are_theorem_calls(values: Sequence[str]) -> bool:
    """Whether there is at least one value and each is a theorem call."""
    return bool(values) and all(_CALL.fullmatch(value) for value in values)


def theorem_step(call: str) -> str:
    """One theorem call as a sentence.

    `parallel_property_ipsilateral_internal_angle(1,ZY,WX)` is "By the parallel property, ipsilateral internal angle, of
    ZY and WX." The number of the variant has no words. Raises ValueError for what is no theorem call.
    """
    match = _CALL.fullmatch(call)
    if match is None:
        raise ValueError(f"no theorem call: {call!r}")
    name, arguments = match["name"], match["arguments"].split(",")[1:]
    parts = _KIND.match(name)
    heading = f"{_in_words(parts['head'])}, {_in_words(parts['tail'])}," if parts else _in_words(name)
    listed = " and ".join(filter(None, [", ".join(arguments[:-1]), arguments[-1]]))
    return f"By the {heading} of {listed}."


def _in_words(name: str) -> str:
    return _PHRASES.get(name) or " ".join(_WORDS.get(word, word) for word in name.split("_"))
