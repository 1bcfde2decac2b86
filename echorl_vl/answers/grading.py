"""Is this answer correct? `grade(answer, ground_truth)`; pure functions, no processes, no clock.

In order, the first that decides: the same text; the same number (or the ground truth correctly rounded, below);
tuples, element by element; and only then sympy, through mathruler and math-verify. A wrong reward teaches the policy
something false, a missed one only costs a little signal, so what is not certain is incorrect.

**When a decimal stands for an exact value.** Let t be the ground truth and a the answer.
- Equal values are correct, in whatever form: 30, 60/2, \\sqrt{900}.
- t an integer, or a fraction that ends within two decimals (51/4 = 12.75): nothing but the value itself.
- t any other exact expression (3\\sqrt{3} = 5.196...): a decimal with d >= 1 digits after the point that is t
  correctly rounded to d digits, 5.2 or 5.20 or 5.196. Not 5.1, not 5 (an integer is never a rounded answer).
- t itself written as a decimal with k digits (5.2): an answer that rounds to it at k digits, 5.196 or 3\\sqrt{3}.
- In all cases |a - t| <= tolerance * max(1, |t|) (for |t| < 0.1: tolerance * |t|), so that 1.7 is not sqrt(3).

Units count only where both sides name one and they differ (5 cm is not 5 m). Names on the left do not count (x = 5). A
letter that stands alone in the ground truth and is not marked as text is a variable, not a unit: 6m is not 6.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from fractions import Fraction

from echorl_vl.answers.extract import last_boxed
from echorl_vl.answers.text import plain, split_unit, squash
from echorl_vl.answers.values import TooLarge, Unreadable, Value, value

TOLERANCE = 1e-2
MAX_ANSWER = 2000
MAX_SYMPY_ANSWER = 400

# Compared as fractions: what an answer holds may be too large, or too near to 0, for a float.
_SAME = Fraction(1, 10**9)
_NEAR_ZERO = Fraction(1, 10**12)
_SLACK = 1 + Fraction(1, 10**6)  # for bounds that are met exactly, such as 5.25 rounded to 5.2
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
class Reading:
    """A text read as a number: its value (None: not a number), digits after the point if it is a decimal literal."""

    value: Value | None
    decimals: int | None = None
    unit: str | None = None
    too_large: bool = False


def grade(answer: str, ground_truth: str, tolerance: float = TOLERANCE) -> bool:
    """Whether `answer` (a bare answer, or a text whose last \\boxed{...} is the answer) is `ground_truth`.

    May take arbitrarily long where sympy is needed: call it in a `GradingPool`. Raises ValueError if `ground_truth`
    is empty or `tolerance` negative.
    """
    decided = decide(answer, ground_truth, tolerance)
    if decided is not None:
        return decided
    answer = bare(str(answer)) or ""
    return _by_sympy(answer, str(ground_truth).strip())


def decide(answer: str | None, ground_truth: str, tolerance: float = TOLERANCE) -> bool | None:
    """`grade` as far as it goes without sympy, in time linear in the text; None where only sympy can tell.

    No answer makes it raise anything.
    """
    ground_truth = bare(str(ground_truth)) if ground_truth is not None else None
    if not ground_truth:
        raise ValueError("the ground truth is empty: every problem needs an answer to grade against")
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance: expected a number >= 0, got {tolerance}")
    answer = bare(str(answer)) if answer is not None else None
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
    """Import what `grade` needs beyond `decide` (sympy and friends, seconds on a cold disk)."""
    import math_verify  # noqa: F401
    from mathruler import grader  # noqa: F401

    # math-verify warns once per process that its own timeouts are off: ours is the pool's.
    logging.getLogger("math_verify").setLevel(logging.ERROR)


class PooledGrade:
    """`grade` as the function of a `GradingPool`; an item is (answer, ground truth, tolerance)."""

    def __call__(self, item: tuple[str, str, float]) -> bool:
        return grade(*item)

    def warm_up(self) -> None:
        warm_up()


def bare(text: str) -> str | None:
    """The answer that a text is, or that its last \\boxed{...} holds; None where that is empty."""
    return (last_boxed(text) if "\\boxed" in text or "\\fbox" in text else text.strip()) or None


def _decide_plain(answer: str, truth: str, tolerance: float) -> bool | None:
    if not answer or not truth:
        return False
    if squash(answer) == squash(truth):
        return True
    if _WORDS.fullmatch(truth):  # words are no product of variables: "no" is not "on"
        return squash(answer).lower() == squash(truth).lower()
    truth_name, *_, truth_value = _segments(truth)
    expected = _read(truth_value)
    name, *numbers = _segments(answer)
    if expected.too_large:
        return False
    if expected.value is not None:
        if truth_name and name and truth_name != name:
            return False
        return _decide_number(numbers, expected, tolerance)
    parts = _tuple_parts(truth_value)
    if parts is not None:
        if not _balanced(truth_value):  # each level of brackets is a call in a call
            return False
        return _decide_tuple(_tuple_parts(numbers[-1]) if len(numbers) == 1 else None, parts, tolerance)
    if len(answer) > MAX_SYMPY_ANSWER or len(truth) > MAX_SYMPY_ANSWER or _read(numbers[-1]).too_large:
        return False
    return None if _balanced(answer) and not _differs_in_case(answer, truth) else False


def _decide_number(numbers: list[str], expected: Reading, tolerance: float) -> bool | None:
    """Every part of a chain `3\\sqrt{3} \\approx 5.2` has to be correct."""
    undecided = False
    for text in numbers:
        found = _read(text)
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
    """Element by element, in order; the first and last entries are the brackets."""
    if found is None or len(found) != len(expected) or (found[0], found[-1]) != (expected[0], expected[-1]):
        return False
    verdicts = [_decide_plain(a, t, tolerance) for a, t in zip(found[1:-1], expected[1:-1], strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _segments(text: str) -> list[str]:
    """`[name, value, value, ...]` of `x = 3\\sqrt{3} \\approx 5.2`; the name is "" where there is none."""
    parts = [part.strip() for part in _EQUALS.split(text)]
    if len(parts) == 1:
        return ["", text]
    name = " ".join(_NAME_DRESSING.sub(" ", parts[0]).split())
    if not parts[0]:
        return ["", *parts[1:]]
    if _NAME.fullmatch(name) and (not name.isdecimal() or "\\angle" in parts[0]):
        return [name, *parts[1:]]
    return ["", *parts]


def _read(text: str) -> Reading:
    whole = text
    text, unit = split_unit(text)
    if unit == "deg" and _TRIGONOMETRY.search(text):
        text, unit = whole, None  # 20 \sin 38^\circ: the degrees belong to the sine
    decimal = _DECIMAL.fullmatch(text)
    try:
        return Reading(value(text), len(decimal[1]) if decimal else None, unit)
    except TooLarge:
        return Reading(None, too_large=True)
    except Unreadable:
        return Reading(None)


def _agree(found: Reading, expected: Reading, tolerance: float) -> bool:
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
    if _same_float(a, t):  # no decimal has to be more exact: 3.3333333333333335 is 10/3
        return True
    scale = size if size < Fraction(1, 10) else max(1, size)
    return distance <= Fraction(10) ** -digits / 2 * _SLACK and distance <= Fraction(tolerance) * scale * _SLACK


def _same_float(a: Fraction, t: Fraction) -> bool:
    try:
        return float(a) == float(t) != 0
    except OverflowError:
        return False


def _could_be_number(text: str) -> bool:
    """Whether sympy may look at an answer to a numeric problem: no variable, word, list, relation or \\pm in it."""
    return _balanced(text) and not _MORE_THAN_A_NUMBER.search(
        _COMMAND.sub(lambda match: match[0] if _MORE_THAN_A_NUMBER.fullmatch(match[0]) else " ", text)
    )


def _variables(truth: str) -> set[str]:
    """Letters of a raw ground truth that stand alone and so may be variables, without a name before "=".

    37m/4 is not 37/4 though an m may be metres, and 5s is not 5: sympy's readers drop such letters. What is said to be
    text (\\text{ m}) is a unit. e and i have values of their own.
    """
    text = _COMMAND.sub(" ", _UPRIGHT.sub(" ", _segments(truth.replace("$", " ").strip())[-1]))
    return set(_LONE_LETTER.findall(text)) - {"e", "i"}


def _differs_in_case(answer: str, truth: str) -> bool:
    """Whether a variable of one is in the other's text only in the other case (R is not r; sympy's readers miss it)."""
    left, right = ({c for c in _COMMAND.sub(" ", text) if c.isalpha()} for text in (answer, truth))
    return any(c.swapcase() in right and c not in right for c in left)


def _balanced(text: str, deepest: int = 20) -> bool:
    """Braces closed, and nothing nested deeper than any answer is."""
    depth = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        if depth > deepest:
            return False
    return text.count("{") == text.count("}")


def _tuple_parts(text: str) -> list[str] | None:
    """`["(", "3", "4", ")"]` of `(3, 4)`; None if the text is not one bracketed list of at least two elements."""
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
    """Symbolic equality by mathruler or math-verify. An error in either is an incorrect answer; no time limit."""
    from math_verify import LatexExtractionConfig, parse, verify
    from mathruler.grader import grade_answer

    def parsed(text: str) -> list:
        # Only the text as a whole: math-verify would else pick one number out of a sentence. Its own timeouts are off,
        # since they use signals that the pool's hard limit makes unnecessary.
        config = [LatexExtractionConfig()]
        return parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)

    answer, truth = split_unit(plain(answer))[0], split_unit(plain(truth))[0]
    try:
        # mathruler reads \frac{x+1}{2} as x+1/2, x^1 2 as x^{12} and R as r: it is asked about plain text only.
        if not re.search(r"[A-Z\\{}_]|\d\s+\d", answer + " ; " + truth) and grade_answer(answer, truth):
            return True
        expected, found = parsed(truth), parsed(answer)
        return bool(expected and found and verify(expected, found, timeout_seconds=None))
    except MemoryError:
        raise
    except Exception:
        return False
