"""Whether a free-form answer is the ground truth: the default grader, mathruler, math-verify. To run in workers.

The default is `echorl_vl.answers.grading.grade`, with what benchmarks need beyond a reward: several answers in any
order, numbers in scientific notation, a tolerance that the benchmark states.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from echorl_vl.answers.grading import MAX_SYMPY_ANSWER, TOLERANCE, decide, grade
from echorl_vl.answers.text import plain, split_unit, squash
from echorl_vl.answers.values import MAX_DIGITS, UnreadableNumberError, value

_MAX_ANSWER = 2000
_MAX_LIST = 24
_MARK = re.compile(r"(?<=[0-9])\s*([:'\"])")
_BASE = re.compile(r"(?<=[0-9])\s*_\s*\{?\s*(\d+)")
# Words behind a number that name what it counts. A list, since "5 million" and "5 factorial" are not 5.
_COUNTED = re.compile(
    r"(?<=[0-9}])\s*(?:dollars?|cents?|seconds?|minutes?|hours?|days?|weeks?|months?|years?|(?:miles|mi) per hour|mph"
    r"|people|students|points|grams?|kilograms?|kg|lit(?:er|re)s?)$"
)
_SCIENTIFIC = re.compile(
    r"(?P<sign>-?)\s*(?P<whole>\d+)(?:\.(?P<digits>\d*))?\s*(?:[eE]|(?:\*|\\times|\\cdot|x)\s*10\s*\^)\s*\{?\s*(?P<power>[-+]?\d{1,3})\s*\}?"
)


@dataclass(frozen=True)
class Item:
    """One answer to grade: `grader` is a name in `GRADERS`; `error` an absolute tolerance that the benchmark states."""

    grader: str
    answer: str
    truth: str
    tolerance: float = TOLERANCE
    error: float | None = None


class Grade:
    """The function of a `GradingPool`: whether an item's answer is correct, by its grader."""

    def __call__(self, item: Item) -> bool:
        return GRADERS[item.grader](item)

    def warm_up(self) -> None:
        """Imports sympy and friends once in each worker, and silences what they log of every answer."""
        from echorl_vl.answers.grading import warm_up

        warm_up()
        logging.disable(logging.ERROR)


def default(item: Item) -> bool:
    """The grader that the metrics use. What is not certain is incorrect."""
    decided = _decided(item)
    if decided is not None:
        return decided
    truths, answers = _parts(item.truth), _parts(item.answer)
    return _one(answers[0], truths[0], item) if len(truths) == 1 else _matched(answers, truths, item)


def by_mathruler(item: Item) -> bool:
    """mathruler's `grade_answer`, as EasyR1's own reward uses it. An answer of over 400 characters is incorrect."""
    from mathruler.grader import grade_answer

    if len(item.answer) > MAX_SYMPY_ANSWER:
        return False
    return bool(grade_answer(item.answer, item.truth))


def by_math_verify(item: Item) -> bool:
    """math-verify with its usual extraction of LaTeX, then of plain expressions. Over 400 characters are incorrect."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    if len(item.answer) > MAX_SYMPY_ANSWER:
        return False
    config = [LatexExtractionConfig(), ExprExtractionConfig()]
    truth, answer = (
        parse(text if "$" in text else f"${text}$", config, parsing_timeout=None) for text in (item.truth, item.answer)
    )
    return bool(verify(truth, answer, timeout_seconds=None))


GRADERS: dict[str, Callable[[Item], bool]] = {
    "default": default,
    "mathruler": by_mathruler,
    "math_verify": by_math_verify,
}


def quick(item: Item) -> bool | None:
    """The default grader as far as it goes without sympy, in the time of a few microseconds; None: ask a worker."""
    return _decided(item) if item.grader == "default" else None


def _decided(item: Item) -> bool | None:
    truths, answers = _parts(item.truth), _parts(item.answer)
    if len(truths) != len(answers) or _says_more(item.answer, item.truth):
        return False
    if item.error is not None or len(truths) > 1:
        return None
    answer = _without_counted(item.answer, item.truth)
    scientific = _scientific(answer, item.truth, item.tolerance)
    return decide(answer, item.truth, item.tolerance) if scientific is None else scientific


def _one(answer: str, truth: str, item: Item) -> bool:
    answer = _without_counted(answer, truth)
    if item.error is not None:
        found, expected = value_of(answer), value_of(truth)
        if found is not None and expected is not None:
            return _of_one_thing(answer, truth) and abs(found - expected) <= item.error * (1 + 1e-9)
    scientific = _scientific(answer, truth, item.tolerance)
    return grade(answer, truth, item.tolerance) if scientific is None else scientific


def _of_one_thing(answer: str, truth: str) -> bool:
    """Whether the names before "=" and the units of two numbers are the same, where both have one."""
    (name, _, number), (wanted, _, expected) = (plain(text).rpartition("=") for text in (answer, truth))
    pairs = [(squash(name), squash(wanted)), (split_unit(number)[1], split_unit(expected)[1])]
    return all(not one or not other or one == other for one, other in pairs)


def _says_more(answer: str, truth: str) -> bool:
    """Whether the answer has a mark behind a number that sympy's readers drop, and the truth has not or another.

    17:50 may be a ratio or a time, 5' feet or minutes, 4210_6 is in base 6. An answer without a base is in that of
    the question.
    """
    marks, bases = set(_MARK.findall(answer)), _BASE.findall(answer)
    return not marks <= set(_MARK.findall(truth)) or (bases != [] and bases != _BASE.findall(truth))


def _without_counted(answer: str, truth: str) -> str:
    """The answer without "minutes" where the truth is a bare number: the question says what it counts."""
    return _COUNTED.sub("", plain(answer)) if value_of(truth) is not None else answer


def _matched(answers: list[str], truths: list[str], item: Item) -> bool:
    """Whether the answers are the truths in some order: every answer has a truth of its own."""
    taken: dict[int, int] = {}  # truth -> the answer that has it

    @cache  # sympy may have to be asked
    def fits(answer: int, truth: int) -> bool:
        return _one(answers[answer], truths[truth], item)

    def place(answer: int, tried: set[int]) -> bool:
        """Gives an answer a truth; one that is taken if its answer can have another (Kuhn's augmenting paths)."""
        for truth in range(len(truths)):
            if truth not in tried and fits(answer, truth):
                tried.add(truth)
                if truth not in taken or place(taken[truth], tried):
                    taken[truth] = answer
                    return True
        return False

    return all(place(answer, set()) for answer in range(len(answers)))


def _scientific(answer: str, truth: str, tolerance: float) -> bool | None:
    """Whether `answer` is `truth` = 4.4e7 at the digits that it is given with: 4.4e7 stands for 4.35e7 to 4.45e7.

    With a `tolerance` of 0, where numbers are exact, it is 44000000 and nothing else. None where the truth is not in
    scientific notation, or the answer is no number.
    """
    expected = _SCIENTIFIC.fullmatch(plain(truth))
    if expected is None or len(truth) > MAX_DIGITS:
        return None
    found = value_of(answer)
    if found is None:
        return None
    digits, power = len(expected["digits"] or ""), int(expected["power"])
    exact = _mantissa(expected)
    scaled = Fraction(found) / Fraction(10) ** power
    if tolerance == 0:
        return scaled == exact
    # Half of the last digit; a whole mantissa such as 1e9 says nothing of digits, so it is exact up to 1 percent.
    room = Fraction(1, 2) * Fraction(10) ** -digits if digits else abs(exact) / 100
    return abs(scaled - exact) <= room * (1 + Fraction(1, 10**9))


def value_of(text: str) -> Fraction | None:
    """The exact value of a text, also in scientific notation and behind a name (x = 5).

    None where it is no number, or a chain of several (7 = 5).
    """
    *names, number = split_unit(plain(text))[0].split("=")
    return _single(number) if all(_single(name) is None for name in names) else None


def _single(text: str) -> Fraction | None:
    scientific = _SCIENTIFIC.fullmatch(text.strip()) if len(text) <= MAX_DIGITS else None
    if scientific is not None:
        return _mantissa(scientific) * Fraction(10) ** int(scientific["power"])
    try:
        return Fraction(value(text))
    except UnreadableNumberError:
        return None


def _mantissa(match: re.Match[str]) -> Fraction:
    return Fraction(f"{match['sign']}{match['whole']}.{match['digits'] or 0}")


def _parts(text: str) -> list[str]:
    """The answers of "3, 5, 7", split at commas outside brackets; the text alone where it is one answer.

    Commas between thousands are no separators, and a set in braces is its elements.
    """
    if len(text) > _MAX_ANSWER:
        return [text]
    text = plain(text)
    inner = re.fullmatch(r"\\\{(.*)\\\}", text)
    text = inner[1] if inner else text
    parts, depth, begin = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "({[") - (character in ")}]")
        if character == "," and depth == 0:
            parts.append(text[begin:index].strip())
            begin = index + 1
    parts.append(text[begin:].strip())
    good = 1 < len(parts) <= _MAX_LIST and depth == 0 and all(parts)
    return parts if good else [text]
