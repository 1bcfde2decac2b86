"""Notations that are recognised as a whole: choices, words, times of day, ratios, numbers in a base."""

from __future__ import annotations

import re
from fractions import Fraction

from echorl_vl.answers import intervals
from echorl_vl.answers.expressions import try_expression
from echorl_vl.answers.kinds import Answer, Based, Choice, Clock, Ratio, Reading, Value, Words
from echorl_vl.answers.names import NAMED, is_name
from echorl_vl.answers.tokens import Token, split, word_set
from echorl_vl.answers.tree import DEGREE, PERCENT, Number, has
from echorl_vl.answers.words import ANSWERS, FUNCTION_OF, OPERANDS

# White space is removed before these are compared.
_NO_SOLUTION = word_set(
    r"nosolution nosolutions nosolutionexists nosolutionsexist thereisnosolution therearenosolutions norealsolution "
    r"norealsolutions nosuchnumber none emptyset theemptyset \emptyset \{\}"
)
_INFINITELY_MANY = frozenset(
    ["infinitelymany", "infinitelymanysolutions", "infinitesolutions", "infinitenumberofsolutions"]
)
_ALL_REALS = frozenset(
    ["allreals", "allrealnumbers", "realnumbers", "thereals", "R", r"\R", r"\mathbb{R}", r"\mathbbR"]
)
_UNDEFINED = frozenset(["undefined", "notdefined", "dne", "doesnotexist"])
_IN_BASE = re.compile(r"\(?(\d[0-9A-Fa-f]*)\)?(?:_|\(?base)\{?(\d{1,2}|[a-z]{3,7})\}?\)?")
_CARDINALS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_BASES = {name: base for base, name in enumerate(_CARDINALS)} | {"sixteen": 16}
_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d))?(am|pm|)")
_HOUR = re.compile(r"(\d{1,2})(am|pm)")
_HYPHENATED = re.compile(r"\d+(?:-\d+){2,}")


def special(tokens: tuple[Token, ...], text: str) -> Answer | None:
    """Answers that are always written as one of a few texts, and the letter of a choice."""
    squeezed = text.replace(" ", "")
    words = squeezed.lower()
    if _HYPHENATED.fullmatch(squeezed):  # a 30-60-90 triangle
        return Words(squeezed)
    if words in _NO_SOLUTION:
        return Words("no solution")
    if words in _UNDEFINED:
        return Words("undefined")
    if words in _INFINITELY_MANY:
        return Words("infinitely many")
    if words in _CARDINALS:
        return Value(words, (Reading(Number(Fraction(_CARDINALS.index(words)))),))
    if squeezed in _ALL_REALS:
        return intervals.reals(text)
    letters = [token for token in tokens if token.text not in ("(", ")", "[", "]", ".", ":")]
    if len(letters) > 1 and letters[0].text.lower() in ("option", "choice", "answer"):
        letters = letters[1:]
    if len(letters) == 1 and len(letters[0].text) == 1 and letters[0].kind == "word" and letters[0].text.isupper():
        return Choice(letters[0].text, letters[0].text)
    return None


def clock(tokens: tuple[Token, ...], text: str) -> Answer | None:
    """A time of day: 7:30, 7:30:15 p.m., 7 am. Without am or pm it may also be a ratio."""
    plain = text.replace(" ", "").replace(".", "").lower().replace("12:00noon", "12:00pm")
    match = _CLOCK.fullmatch(plain)
    if match:
        hour, minute, second, half = int(match[1]), int(match[2]), int(match[3] or 0), match[4]
    elif match := _HOUR.fullmatch(plain):
        hour, minute, second, half = int(match[1]), 0, 0, match[2]
    else:
        return None
    if hour > (12 if half else 24):
        return None
    parts = None if half else ratio(tokens, text)
    hour = hour % 12 + 12 * (half == "pm") if half else hour
    return Clock(text, hour * 3600 + minute * 60 + second, half, parts if isinstance(parts, Ratio) else None)


def words(tokens: tuple[Token, ...], text: str) -> Answer | None:
    """Words without a number or a formula."""
    if any(token.kind != "word" and token.text not in ("-", "'", "?", ".") for token in tokens):
        return None
    if any(token.text.lower() in ("and", "or") for token in tokens):
        return None
    if len(tokens) == 1:
        word = tokens[0].text
        if word in OPERANDS:
            return None
        long = len(word) > 3 and not FUNCTION_OF.fullmatch(word) and not (word.isupper() and is_name(word))
        english = word.lower() in ANSWERS or long
        english = english or (tokens[0].marked and len(word) > 1 and not word.isupper())
        return Words(word.lower()) if english else None
    if tokens[0].text.lower() in NAMED and len(tokens) == 2:
        return None
    long = sum(len(token.text) > 1 and token.text.lower() not in ("sin", "cos", "tan", "ln", "log") for token in tokens)
    lone = any(
        len(token.text) == 1 and not token.marked and token.text not in ("a", "I")
        for token in tokens
        if token.kind == "word"
    )
    names = all(token.text.isupper() for token in tokens)
    return Words(text.lower()) if long and not lone and not names and not any(t.text == "'" for t in tokens) else None


def ratio(tokens: tuple[Token, ...], text: str) -> Answer | None:
    """3:4:5, and "3 to 4" between two values."""
    joined = [token for token, after in zip(tokens, (*tokens[1:], None), strict=True) if not _is_to(token, after)]
    flat = [Token("sign", ":") if token.kind == "word" and token.text == "to" else token for token in joined]
    parts = split(flat, (":",))
    if len(parts) == 1:
        return None
    trees = [try_expression(part) if part else None for part in parts]
    if any(tree is not None and (has(tree, DEGREE) or has(tree, PERCENT)) for tree in trees):
        return Answer(text)
    return Answer(text) if None in trees else Ratio(text, tuple(trees))  # type: ignore[arg-type]


def _is_to(token: Token, after: Token | None) -> bool:
    """Whether a token is the first word of "is to"."""
    return token.text == "is" and after is not None and after.text == "to"


def based(tokens: tuple[Token, ...], text: str) -> Answer | None:
    """Digits in a base: 52_8, 2AF_{16}, 101_{two}, 312 base 5."""
    match = _IN_BASE.fullmatch(text.replace(" ", ""))
    if match is None:
        return None
    digits, name = match[1].upper(), match[2]
    base = int(name) if name.isdecimal() else _BASES.get(name.lower(), 0)
    if not 2 <= base <= 16 or any(int(digit, 16) >= base for digit in digits):
        return Answer(text)
    return Based(text, digits.lstrip("0") or "0", base)
