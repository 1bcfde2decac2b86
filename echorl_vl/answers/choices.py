"""Answers to multiple-choice and yes-no questions. An answer that names two choices, or hedges, names none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from echorl_vl.answers.grading import bare_answer, decide
from echorl_vl.answers.parse import parse
from echorl_vl.answers.tokens import UnbalancedError, canonical, tokenize

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_LABEL = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:the\s+)?(?:option|choice|answer)\s*:?\s*)?"
    r"[(\[]?\s*([A-Z])\s*[)\]]?\s*[.:]?",
    re.IGNORECASE,
)
_LABELLED = re.compile(r"[(\[]?([A-Z])[)\].:]\s*(.+)", re.DOTALL)
_REASONED = re.compile(r"[(\[]?([A-Z])[)\]]?,?\s+((?:because|since|as)\b.+)", re.DOTALL)
_REASON = re.compile(r"(?:because|since|as)\b", re.IGNORECASE)
_LETTER = re.compile(r"(?<![A-Za-z])[A-Z](?![A-Za-z'])")
_DOUBT = re.compile(
    r"\b(?:or|maybe|perhaps|possibly|probably|either|neither|not|no|never|guess|unsure|both|but|however|wrong|incorrect"
    r"|false|eliminated|excluded|impossible)\b|n't\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
# "No difference" and "no doubt" begin with "no" but don't mean no.
_OPENING = re.compile(r"\W*(yes|no)\b\s*(?:[,.;:!)*_]|$)", re.IGNORECASE)
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit|operatorname)\s*\{([^{}]*)\}")


def choice_of(answer: str, choices: Sequence[str]) -> str | None:
    """The letter of the choice that an answer names; None if it names none, or several.

    Accepts B, (B), "Option B", "so option B", "B. 5 cm", "B because it is longer", and "5 cm" if exactly one choice has
    this text or value. A single letter is a label, even if a choice's text is that letter. "A) or B)" and "A: no; B:
    yes" name two choices. A letter with the text of another choice ("B. 3 cm" where B is 5 cm) names none.
    """
    letters = LETTERS[: len(choices)]
    text = _plain(answer)
    label = _LABEL.fullmatch(text)
    if label and label[1].upper() in letters:
        return label[1].upper()
    exactly = [letter for letter, choice in zip(letters, choices, strict=True) if _same_text(choice, text)]
    if exactly:
        return exactly[0] if len(exactly) == 1 else None
    named = _LABELLED.fullmatch(text) or _REASONED.fullmatch(text)
    if named and named[1] in letters:
        return named[1] if _agrees(named[1], named[2].lstrip(", "), letters, choices) else None
    name, equals, _ = text.partition("=")
    if equals and name.strip() in letters:  # B = 3 cm
        return None
    equal = [letter for letter, choice in zip(letters, choices, strict=True) if _same_value(text, choice)]
    return equal[0] if len(equal) == 1 else None


def is_label(text: str) -> bool:
    """Whether a text is a letter and no more, such as (B) or "Option B."."""
    return _LABEL.fullmatch(_plain(text)) is not None


def yes_or_no(answer: str) -> str | None:
    """ "yes" or "no" if the answer begins with it and does not contain the other; else None."""
    text = _plain(answer)
    both = len({word.lower() for word in _YES_NO.findall(text)}) > 1
    doubtful = re.search(r"\b(?:but|however|maybe|not\s+really|unsure)\b", text, re.IGNORECASE)
    return None if both or doubtful else opening(text)


def opening(text: str) -> str | None:
    """The "yes" or "no" at the beginning of a text."""
    match = _OPENING.match(text)
    return match[1].lower() if match else None


def _agrees(letter: str, rest: str, letters: str, choices: Sequence[str]) -> bool:
    """Whether the text after a label is its choice, or a reason that names no other one and has no doubt."""
    own = choices[letters.index(letter)]
    if _same_text(own, rest) or _same_value(rest, own):
        return True
    others = [choice for name, choice in zip(letters, choices, strict=True) if name != letter]
    if any(_same_text(choice, rest) or _same_value(rest, choice) for choice in others) or _DOUBT.search(rest):
        return False
    if _REASON.match(rest):
        return not {match[0] for match in _LETTER.finditer(rest)} & set(letters) - {letter, "A", "I"}
    return own in rest and not any(choice in rest for choice in others)


def _plain(text: str) -> str:
    """The text without marks of emphasis, math mode and full-width letters."""
    text = unicodedata.normalize("NFKC", text) if any("\uff01" <= letter <= "\uff5e" for letter in text) else text
    text = _WRAPPED.sub(r"\1", _WRAPPED.sub(r"\1", text))
    return " ".join(text.replace("$", " ").replace("\\(", " ").replace("\\)", " ").replace("\\ ", " ").split()).strip(
        "*_ "
    )


def _same_text(choice: str, text: str) -> bool:
    try:
        return canonical(tokenize(choice)).lower() == canonical(tokenize(text)).lower()
    except UnbalancedError:
        return choice == text


def _same_value(text: str, choice: str) -> bool:
    return bare_answer(choice) is not None and bool(parse(text).text) and decide(text, choice) is True
