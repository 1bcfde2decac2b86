"""GSM8K's solutions: reasoning with annotations (`<<48/2=24>>`), and the final answer on a last line `#### 72`."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

_FORM = r"(?:^|\n)####[ \t]*(?P<answer>[^\n]*[^\s])\s*$"
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")


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
