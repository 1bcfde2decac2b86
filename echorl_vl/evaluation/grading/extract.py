"""Extract the final answer of a response, for each kind of question. An ambiguous answer counts as none.

The answer is the content of the last `\\boxed{...}`. Without a box it is the last `<answer>...</answer>`, else the last
"the answer is ...", unless the response was truncated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from echorl_vl.answers.extract import last_box
from echorl_vl.answers.grading import bare_answer, decide
from echorl_vl.answers.text import plain, squash
from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.benchmarks.choices import LETTERS

_TAGS = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_PHRASE = re.compile(
    r"\b(?:final\s+answer|correct\s+(?:answer|option|choice)|right\s+(?:answer|choice)|answer)\b[*_]*\s*(?:is|:|=|would\s+be)"
    r"(?:\s*:)?[*_\s]*(.+?)(?:\.\s|\.?\s*$|\n)",
    re.IGNORECASE | re.DOTALL,
)
_LABEL = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:option|choice|answer)\s*:?\s*)?"
    r"[(\[]?\s*([A-Z])\s*[)\]]?\s*[.:]?",
    re.IGNORECASE,
)
_LABELLED = re.compile(r"[(\[]?([A-Z])[)\].:]\s*(.+)", re.DOTALL)
_REASONED = re.compile(r"[(\[]?([A-Z])[)\]]?,?\s+(?:because|since|as)\b.+", re.DOTALL)
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
# "No difference" and "no doubt" begin with "no" but don't mean no.
_OPENING = re.compile(r"\W*(yes|no)\b\s*(?:[,.;:!)*_]|$)", re.IGNORECASE)
_MAX_ANSWER = 2000


def extract(response: str, question: Question, truncated: bool = False) -> str | None:
    """Return the answer: text (free_form), a letter (choice), "yes" or "no" (yes_no); None if there is no answer.

    Takes time linear in the length of the response.
    """
    answer = _stated(response, truncated)
    if question.kind == "free_form":
        return answer
    if question.kind == "choice":
        if answer is None and not truncated:
            line = " ".join(_last_line(response).split())  # single spaces keep the pattern linear
            answer = line if _LABEL.fullmatch(line) else None
        return None if answer is None else choice_of(answer, question.choices)
    if answer is None and not truncated:
        answer = _opening(response)
    return None if answer is None else yes_or_no(answer)


def choice_of(answer: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the choice that an answer names; None if it names none or several.

    Accepts B, (B), "Option B", "so option B", "B. 5 cm", "B because it is longer", and "5 cm" if exactly one choice has
    this text or value. A single letter is a label, even if a choice's text is that letter.
    """
    letters = LETTERS[: len(choices)]
    text = plain(answer).strip("*_ ")
    label = _LABEL.fullmatch(text)
    if label and label[1].upper() in letters:
        return label[1].upper()
    exact = [letter for letter, choice in zip(letters, choices, strict=True) if _same(choice, text)]
    if exact:
        return exact[0] if len(exact) == 1 else None
    labelled = _LABELLED.fullmatch(text) or _REASONED.fullmatch(text)
    if labelled and labelled[1] in letters:
        return labelled[1]
    equal = [letter for letter, choice in zip(letters, choices, strict=True) if _equal(text, choice)]
    return equal[0] if len(equal) == 1 else None


def yes_or_no(answer: str) -> str | None:
    """Return "yes" or "no" if the answer begins with it and does not contain the other; else None."""
    text = plain(answer)
    both = len({word.lower() for word in _YES_NO.findall(text)}) > 1
    return None if both else _opening(text)


def _stated(response: str, truncated: bool) -> str | None:
    box = last_box(response)
    if box is not None:
        return (box.content or "")[: _MAX_ANSWER + 1].strip() or None
    if truncated:
        return None
    for pattern in (_TAGS, _PHRASE):
        found = pattern.findall(response[-_MAX_ANSWER:])
        if found and found[-1].strip(" *_"):
            return found[-1].strip(" *_")
    return None


def _last_line(response: str) -> str:
    """Return the last non-blank line without Markdown emphasis; "" if there is none."""
    lines = response.rstrip().splitlines()
    return lines[-1].strip(" *_") if lines else ""


def _opening(text: str) -> str | None:
    """Return the "yes" or "no" at the beginning of a text."""
    match = _OPENING.match(text)
    return match[1].lower() if match else None


def _same(choice: str, text: str) -> bool:
    return squash(plain(choice)).lower() == squash(text).lower()


def _equal(text: str, choice: str) -> bool:
    return bare_answer(choice) is not None and decide(text, choice) is True
