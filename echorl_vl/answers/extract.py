"""Find the final answer of a response: the content of its last \\boxed{...}, or what it states as its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
# An escaped character is one unit, so that \{ and \} do not count as braces.
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"\s*([^\s{}$\\]{1,64})")
_TAGS = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_PHRASE = re.compile(
    r"(?:\b(?:final\s+answer|correct\s+(?:answer|option|choice)|right\s+(?:answer|choice)|answer)\b[*_]*\s*"
    r"(?:is|:|：|=|would\s+be)|(?:最终)?(?:答案|正确选项)\s*(?:是|为|[:：])+)"
    r"(?:\s*[:：])?[*_\s]*(.+?)(?:\.\s|。|\.?\s*$|\n)",
    re.IGNORECASE | re.DOTALL,
)
# "I don't think the answer is 5": a denial earlier in the same sentence.
_DENIAL = re.compile(r"(?:\b(?:not|never|wrong|doubt|unlikely|impossible)\b|n't\b)[^.!?\n]{0,80}$", re.IGNORECASE)
_BOLD_LINE = re.compile(r"\s*(?:\*\*|__)([^*_\n]{1,200})(?:\*\*|__)[.。]?\s*")
MAX_ANSWER = 2000


@dataclass(frozen=True)
class Box:
    """One `\\boxed` command in a text, from `start` to `end`. `content` is its argument, None if it is never closed."""

    start: int
    end: int
    content: str | None


def without_reasoning(response: str) -> str:
    """The part after the reasoning of a response with `<think>...</think>`; "" if the reasoning never ends.

    What a model boxes while it thinks is no answer.
    """
    if "</think>" in response:
        return response.rpartition("</think>")[2]
    return "" if "<think>" in response else response


def final_answer(response: str, truncated: bool = False) -> str | None:
    """The answer that a response states, None if it states none. Takes time linear in the response.

    The content of the last box after the reasoning. Without a box: the last `<answer>...</answer>`, the last "the
    answer is ..." (also in Chinese), or a last line in bold, unless the response was truncated.
    """
    response = without_reasoning(response)
    box = last_box(response)
    if box is not None:
        return (box.content or "")[: MAX_ANSWER + 1].strip() or None
    if truncated:
        return None
    end = response[-MAX_ANSWER:]
    for pattern in (_TAGS, _PHRASE):
        found = list(pattern.finditer(end))
        if found and found[-1][1].strip(" *_"):
            denied = pattern is _PHRASE and _DENIAL.search(end[: found[-1].start()])
            return None if denied else found[-1][1].strip(" *_")
    bold = _BOLD_LINE.fullmatch(last_line(response)[:300])
    return bold[1].strip() or None if bold else None


def last_line(response: str) -> str:
    """The last non-blank line; "" if there is none."""
    lines = response.rstrip().splitlines()
    return lines[-1] if lines else ""


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
