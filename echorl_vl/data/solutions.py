"""Worked solutions in special formats.

GSM8K: reasoning with annotations (`<<48/2=24>>`), and the final answer on a last line `#### 72`. Geometry3K
(FormalGeo): theorem calls, which become one sentence each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from echorl_vl.data.messages import is_text

_FORM = r"(?:^|\n)####[ \t]*(?P<answer>[^\n]*[^\s])\s*$"
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")

# parallel_property_ipsilateral_internal_angle(1,ZY,WX): theorem, number of the variant, arguments
_CALL = re.compile(r"(?P<name>[a-z]\w*)\(\d+(?P<arguments>(?:,\w+)+)\)")
# The head of a name says the kind of theorem, the tail which one.
_KIND = re.compile(r"^(?P<head>.*?_(?:property|judgment|formula|theorem))_(?P<tail>.+)$")
_PHRASES = {"par_par": "both parallel to a third line", "per_per": "both perpendicular to a third line"}
_WORDS = {word.lower(): word for word in ("AA", "AAS", "HL", "SAS", "SSS")}
_WORDS |= {"formular": "formula", "mid": "midpoint", "par": "parallel", "per": "perpendicular"}


def split_solution(text: str) -> tuple[str, str] | None:
    """Reasoning without annotations, and final answer, of a solution in GSM8K's format; None for other text."""
    match = re.search(_FORM, text)
    if match is None:
        return None
    return _ANNOTATION.sub("", text[: match.start()]).rstrip(), match["answer"]


def are_solutions(column: pa.ChunkedArray) -> bool:
    """Whether each text of the column is a solution in GSM8K's format. Null rows are ignored."""
    if not is_text(column.type):
        return False
    # the result is null if every row is
    return bool(pc.all(pc.match_substring_regex(column, _FORM.replace("$", r"\z"))).as_py())


def are_theorem_calls(values: Sequence[str]) -> bool:
    """Whether there is at least one value and each is a theorem call."""
    return bool(values) and all(_CALL.fullmatch(value) for value in values)


def theorem_step(call: str) -> str:
    """A theorem call as a sentence, without the number of the variant.

    `parallel_property_ipsilateral_internal_angle(1,ZY,WX)` becomes "By the parallel property, ipsilateral internal
    angle, of ZY and WX."

    Raises:
        ValueError: the text is not a theorem call.
    """
    match = _CALL.fullmatch(call)
    if match is None:
        raise ValueError(f"expected a theorem call, got {call!r}")
    name, arguments = match["name"], match["arguments"].split(",")[1:]
    parts = _KIND.match(name)
    heading = f"{_in_words(parts['head'])}, {_in_words(parts['tail'])}," if parts else _in_words(name)
    listed = " and ".join(filter(None, [", ".join(arguments[:-1]), arguments[-1]]))
    return f"By the {heading} of {listed}."


def _in_words(name: str) -> str:
    return _PHRASES.get(name) or " ".join(_WORDS.get(word, word) for word in name.split("_"))
