"""Worked solutions in forms of their own.

GSM8K's: reasoning with annotations (`<<48/2=24>>`), and the final answer on a last line `#### 72`. Geometry3K's
(FormalGeo): theorem calls, put in words, one step each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

_FORM = r"(?:^|\n)####[ \t]*(?P<answer>[^\n]*[^\s])\s*$"
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")

# parallel_property_ipsilateral_internal_angle(1,ZY,WX): the theorem, which of its variants, what it is applied to
_CALL = re.compile(r"(?P<name>[a-z]\w*)\(\d+(?P<arguments>(?:,\w+)+)\)")
# The part of a name that says what kind of theorem it is; what stands behind it says which one.
_KIND = re.compile(r"^(?P<head>.*?_(?:property|judgment|formula|theorem))_(?P<tail>.+)$")
_PHRASES = {"par_par": "both parallel to a third line", "per_per": "both perpendicular to a third line"}
_WORDS = {word.lower(): word for word in ("AA", "AAS", "HL", "SAS", "SSS")}
_WORDS |= {"formular": "formula", "mid": "midpoint", "par": "parallel", "per": "perpendicular"}


def split_solution(text: str) -> tuple[str, str] | None:
    """(reasoning without annotations, final answer) of a solution in GSM8K's form; None for another text."""
    match = re.search(_FORM, text)
    if match is None:
        return None
    return _ANNOTATION.sub("", text[: match.start()]).rstrip(), match["answer"]


def are_solutions(column: pa.ChunkedArray) -> bool:
    """Whether each text of the column is a solution in GSM8K's form (empty rows are passed over)."""
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return False
    # null where every row is
    return bool(pc.all(pc.match_substring_regex(column, _FORM.replace("$", r"\z"))).as_py())


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
