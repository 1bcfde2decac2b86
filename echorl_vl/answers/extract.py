"""Find the final answer of a response: the content of its last \\boxed{...}."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
# An escaped character is one unit, so that \{ and \} do not count as braces.
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"\s*([^\s{}$\\]{1,64})")


@dataclass(frozen=True)
class Box:
    """One `\\boxed` command in a text, from `start` to `end`. `content` is its argument, None if it is never closed."""

    start: int
    end: int
    content: str | None


def closing_brace(text: str, opening: int) -> int | None:
    """Index of the brace that closes the one at `opening`, None if there is none. Takes linear time."""
    depth = 0
    for match in _BRACE.finditer(text, opening):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return None


def last_box(text: str) -> Box | None:
    """The last `\\boxed{...}`, `\\fbox{...}` or `\\boxed 5` of `text`, None if there is none. Takes linear time."""
    last = None
    for last in _BOX.finditer(text):  # noqa: B007  (only the last match is used)
        pass
    if last is None:
        return None
    opening = last.end()
    while opening < len(text) and text[opening] in " \t\n":
        opening += 1
    if opening < len(text) and text[opening] == "{":
        end = closing_brace(text, opening)
        if end is None:
            return Box(last.start(), len(text), None)
        return Box(last.start(), end + 1, text[opening + 1 : end].strip())
    bare = _BARE.match(text, last.end())
    if bare is None:
        return Box(last.start(), last.end(), None)
    return Box(last.start(), bare.end(), bare[1].rstrip(".,;:"))


def last_boxed(text: str) -> str | None:
    """Content of the last box of `text`, stripped.

    None if there is no box or the last one is not closed. An earlier box is then not the answer, since the response
    went on after it.
    """
    box = last_box(text)
    return None if box is None else box.content


def count_boxes(text: str) -> int:
    """Number of `\\boxed` and `\\fbox` commands in `text`."""
    return sum(1 for _ in _BOX.finditer(text))
