"""Is this answer correct? `grade(answer, ground_truth)` is a pure function, without processes or a clock.

The first of these checks that decides is final: the same text; the same number (or the ground truth correctly rounded,
see below); tuples, element by element; and only then sympy, through mathruler and math-verify. A false positive teaches
the policy something false and a false negative costs only a little signal, so an uncertain answer counts as incorrect.

**When a decimal is accepted for an exact value.** Let t be the ground truth and a the answer.
- Equal values are correct in any form: 30, 60/2, \\sqrt{900}.
- t is an integer, or a fraction with at most two decimals (51/4 = 12.75): only the value itself is correct.
- t is any other exact expression (3\\sqrt{3} = 5.196...): a decimal with d >= 1 digits after the point is correct if
  it is t rounded to d digits: 5.2, 5.20 or 5.196. Not 5.1, and not 5 (an integer is never a rounded answer).
- t is a decimal with k digits after the point (5.2): an answer that rounds to t at k digits is correct, such as 5.196
  or 3\\sqrt{3}.
- In all cases |a - t| <= tolerance * max(1, |t|) (for |t| < 0.1: tolerance * |t|), so 1.7 is not sqrt(3).

Units matter only if both sides have one and they differ: 5 cm is 5, but not 5 m. The same holds for a name before "=":
x = 5 is 5, but not y = 5. A single letter of the ground truth that is not marked as text is a variable, not a unit: 6m
is not 6.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from fractions import Fraction

from echorl_vl.answers.extract import last_boxed
from echorl_vl.answers.text import plain, split_unit, squash
from echorl_vl.answers.values import NumberTooLargeError, UnreadableNumberError, Value, value

TOLERANCE = 1e-2
MAX_ANSWER = 2000
MAX_SYMPY_ANSWER = 400

# Numbers are compared as fractions: an answer may be too large, or too close to 0, for a float.
_SAME = Fraction(1, 10**9)
_NEAR_ZERO = Fraction(1, 10**12)
_SLACK = 1 + Fraction(1, 10**6)  # for values exactly on a bound, such as 5.25 rounded to 5.2
_EQUALS = re.compile(r"(?<![<>!])=|\\(?:approx|simeq|doteq|thickapprox)(?![A-Za-z])")
_DECIMAL = re.compile(r"[-+]?\s*[0-9]*\.([0-9]+)")
_NAME = re.compile(r"[A-Za-z][A-Za-z ]*(?:_?[0-9A-Za-z]|_\{[0-9A-Za-z]+\})?(?: [0-9A-Za-z]+)?|[0-9]")
_NAME_DRESSING = re.compile(
    r"\\(?:angle|triangle|overline|overarc|overset|widehat|hat|frown|measuredangle|bigtriangleup|odot|mathcal)(?![A-Za-z])"
    r"|\\(?=(?:alpha|beta|gamma|theta|phi|varphi|sin|cos|tan)(?![A-Za-z]))|[{}']"
)
_TRIGONOMETRY = re.compile(r"(?:sin|cos|tan|sec|csc|cot)(?![A-Za-z])")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]*[A-Za-z]")
_UPRIGHT = re.compile(r"\\(?:text|textrm|mathrm|mbox|hbox|operatorname)\s*\{[^{}]*\}")
_LONE_LETTER = re.compile(r"(?<![A-Za-z_\\])(?<!_\{)[A-Za-z](?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_MORE_THAN_A_NUMBER = re.compile(
    r"[A-Za-z,;=<>%$°]|[0-9]\s+[0-9]|\\(?:pm|mp|in|leq?|geq?|neq?|cup|cap|infty|ldots|dots)(?![A-Za-z])"
)
_BRACKETS = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class ParsedNumber:
    """A text parsed as a number.

    Attributes:
        value: None if the text is not a number.
        decimals: digits after the point of a decimal literal, None for other numbers.
    """

    value: Value | None
    decimals: int | None = None
    unit: str | None = None
    too_large: bool = False


def grade(answer: str, ground_truth: str, tolerance: float = TOLERANCE) -> bool:
    """Whether an answer is correct. Sympy may take arbitrarily long, so call this in a `GradingPool`.

    Args:
        answer: the answer itself, or a text whose last \\boxed{...} holds it.
        ground_truth: in the same forms.
        tolerance: largest relative error of a rounded answer (see the module's docstring).

    Raises:
        ValueError: `ground_truth` is empty, or `tolerance` is negative or not finite.
    """
    decided = decide(answer, ground_truth, tolerance)
    if decided is not None:
        return decided
    answer = bare_answer(str(answer)) or ""
    return _by_sympy(answer, str(ground_truth).strip())


def decide(answer: str | None, ground_truth: str, tolerance: float = TOLERANCE) -> bool | None:
    """`grade` without sympy, in time linear in the text; None if only sympy can decide.

    No answer makes it raise; a ground truth or tolerance does as in `grade`.
    """
    ground_truth = bare_answer(str(ground_truth)) if ground_truth is not None else None
    if not ground_truth:
        raise ValueError("the ground truth is empty: every problem needs an answer to grade against")
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance: expected a number >= 0, got {tolerance}")
    answer = bare_answer(str(answer)) if answer is not None else None
    if not answer:
        return False
    if answer == ground_truth:
        return True
    if len(answer) > MAX_ANSWER or len(ground_truth) > MAX_ANSWER:
        return False
    text = plain(answer)
    if not _variables(ground_truth) <= set(_COMMAND.sub(" ", text)):
        return False
    return _decide_plain(text, plain(ground_truth), tolerance)


def warm_up() -> None:
    """Import what `grade` needs and `decide` does not: sympy and its readers, seconds on a cold disk."""
    import math_verify  # noqa: F401
    from mathruler import grader  # noqa: F401

    # math-verify warns once per process that its timeouts are off; the pool has its own.
    logging.getLogger("math_verify").setLevel(logging.ERROR)


class PooledGrade:
    """`grade` for a `GradingPool`, whose items are (answer, ground truth, tolerance)."""

    def __call__(self, item: tuple[str, str, float]) -> bool:
        return grade(*item)

    def warm_up(self) -> None:
        warm_up()


def bare_answer(text: str) -> str | None:
    """Content of the last \\boxed{...}, or the whole text if it has no box; None if that is empty."""
    return (last_boxed(text) if "\\boxed" in text or "\\fbox" in text else text.strip()) or None


def _decide_plain(answer: str, truth: str, tolerance: float) -> bool | None:
    if not answer or not truth:
        return False
    if squash(answer) == squash(truth):
        return True
    if _WORDS.fullmatch(truth):  # a word is not a product of variables: "no" is not "on"
        return squash(answer).lower() == squash(truth).lower()
    truth_name, *_, truth_value = _segments(truth)
    expected = _parse_number(truth_value)
    name, *numbers = _segments(answer)
    if expected.too_large:
        return False
    if expected.value is not None:
        if truth_name and name and truth_name != name:
            return False
        return _decide_number(numbers, expected, tolerance)
    parts = _tuple_parts(truth_value)
    if parts is not None:
        if not _balanced(truth_value):  # each level of brackets is a nested call
            return False
        return _decide_tuple(_tuple_parts(numbers[-1]) if len(numbers) == 1 else None, parts, tolerance)
    if len(answer) > MAX_SYMPY_ANSWER or len(truth) > MAX_SYMPY_ANSWER or _parse_number(numbers[-1]).too_large:
        return False
    return None if _balanced(answer) and not _differs_in_case(answer, truth) else False


def _decide_number(numbers: list[str], expected: ParsedNumber, tolerance: float) -> bool | None:
    """Compare with each part of an answer such as `3\\sqrt{3} \\approx 5.2`: all have to be correct."""
    undecided = False
    for text in numbers:
        found = _parse_number(text)
        if found.value is not None:
            if found.unit and expected.unit and found.unit != expected.unit:
                return False
            if not _agree(found, expected, tolerance):
                return False
        elif found.too_large or len(text) > MAX_SYMPY_ANSWER or not _could_be_number(text):
            return False
        else:
            undecided = True
    return None if undecided else True


def _decide_tuple(found: list[str] | None, expected: list[str], tolerance: float) -> bool | None:
    """Compare two tuples element by element. The first and last entries are the brackets."""
    if found is None or len(found) != len(expected) or (found[0], found[-1]) != (expected[0], expected[-1]):
        return False
    verdicts = [_decide_plain(a, t, tolerance) for a, t in zip(found[1:-1], expected[1:-1], strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _segments(text: str) -> list[str]:
    """`[name, value, value, ...]` of `x = 3\\sqrt{3} \\approx 5.2`; the name is "" if there is none."""
    parts = [part.strip() for part in _EQUALS.split(text)]
    if len(parts) == 1:
        return ["", text]
    name = " ".join(_NAME_DRESSING.sub(" ", parts[0]).split())
    if not parts[0]:
        return ["", *parts[1:]]
    if _NAME.fullmatch(name) and (not name.isdecimal() or "\\angle" in parts[0]):
        return [name, *parts[1:]]
    return ["", *parts]


def _parse_number(text: str) -> ParsedNumber:
    whole = text
    text, unit = split_unit(text)
    if unit == "deg" and _TRIGONOMETRY.search(text):
        text, unit = whole, None  # 20 \sin 38^\circ: the degree sign belongs to the angle
    decimal = _DECIMAL.fullmatch(text)
    try:
        return ParsedNumber(value(text), len(decimal[1]) if decimal else None, unit)
    except NumberTooLargeError:
        return ParsedNumber(None, too_large=True)
    except UnreadableNumberError:
        return ParsedNumber(None)


def _agree(found: ParsedNumber, expected: ParsedNumber, tolerance: float) -> bool:
    a, t = Fraction(found.value), Fraction(expected.value)
    irrational = isinstance(found.value, float) or isinstance(expected.value, float)
    distance, size = abs(a - t), abs(t)
    if not distance or (irrational and (distance <= _SAME * max(abs(a), size) or (not t and distance <= _NEAR_ZERO))):
        return True
    exact = isinstance(expected.value, Fraction)
    if exact and t.denominator == 1:
        return False
    if expected.decimals is not None:
        digits = expected.decimals
    elif found.decimals is None or (exact and (100 * t).denominator == 1):
        return False
    else:
        digits = found.decimals
    if _same_float(a, t):  # more digits than a float's are not needed: 3.3333333333333335 is 10/3
        return True
    scale = size if size < Fraction(1, 10) else max(1, size)
    return distance <= Fraction(10) ** -digits / 2 * _SLACK and distance <= Fraction(tolerance) * scale * _SLACK


def _same_float(a: Fraction, t: Fraction) -> bool:
    try:
        return float(a) == float(t) != 0
    except OverflowError:
        return False


def _could_be_number(text: str) -> bool:
    """Whether to ask sympy about an answer to a numeric problem: it has no variable, word, list, relation or \\pm."""
    return _balanced(text) and not _MORE_THAN_A_NUMBER.search(
        _COMMAND.sub(lambda match: match[0] if _MORE_THAN_A_NUMBER.fullmatch(match[0]) else " ", text)
    )


def _variables(truth: str) -> set[str]:
    """Single letters of a raw ground truth that may be variables; the name before "=" is left out.

    37m/4 is not 37/4, although m may mean metres, and 5s is not 5: sympy's readers drop such letters. Marked text
    (\\text{ m}) is a unit. e and i are constants.
    """
    text = _COMMAND.sub(" ", _UPRIGHT.sub(" ", _segments(truth.replace("$", " ").strip())[-1]))
    return set(_LONE_LETTER.findall(text)) - {"e", "i"}


def _differs_in_case(answer: str, truth: str) -> bool:
    """Whether the texts use a variable in different cases: R is not r, which sympy's readers ignore."""
    left, right = ({c for c in _COMMAND.sub(" ", text) if c.isalpha()} for text in (answer, truth))
    return any(c.swapcase() in right and c not in right for c in left)


def _balanced(text: str, deepest: int = 20) -> bool:
    """Whether all braces are closed and nothing is nested deeper than `deepest` levels."""
    depth = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        if depth > deepest:
            return False
    return text.count("{") == text.count("}")


def _tuple_parts(text: str) -> list[str] | None:
    """`["(", "3", "4", ")"]` of `(3, 4)`; None if the text is not one bracketed list of two or more elements."""
    if len(text) < 5 or text[0] not in _BRACKETS or text[-1] not in _BRACKETS.values():
        return None
    parts, depth, begin = [], 0, 1
    for index in range(1, len(text) - 1):
        depth += (text[index] in "{([") - (text[index] in "})]")
        if depth < 0:
            return None
        if text[index] == "," and depth == 0:
            parts.append(text[begin:index].strip())
            begin = index + 1
    parts.append(text[begin:-1].strip())
    return [text[0], *parts, text[-1]] if len(parts) > 1 and depth == 0 and all(parts) else None


def _by_sympy(answer: str, truth: str) -> bool:
    """Symbolic equality by mathruler or math-verify, without a time limit. If either fails, the answer is incorrect."""
    from math_verify import LatexExtractionConfig, parse, verify
    from mathruler.grader import grade_answer

    def parsed(text: str) -> list:
        # Only the text as a whole, as math-verify would pick a number out of a sentence. Its timeouts use signals and
        # are off: the pool has a hard limit.
        config = [LatexExtractionConfig()]
        return parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)

    answer, truth = split_unit(plain(answer))[0], split_unit(plain(truth))[0]
    try:
        # mathruler reads \frac{x+1}{2} as x+1/2, x^1 2 as x^{12} and R as r, so it gets plain text only.
        if not re.search(r"[A-Z\\{}_]|\d\s+\d", answer + " ; " + truth) and grade_answer(answer, truth):
            return True
        expected, found = parsed(truth), parsed(answer)
        return bool(expected and found and verify(expected, found, timeout_seconds=None))
    except MemoryError:
        raise
    except Exception:
        return False
