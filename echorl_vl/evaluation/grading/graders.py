"""Graders of free-form answers: the default grader, mathruler, math-verify. They run in worker processes.

The default is `echorl_vl.answers.grading.grade`, extended for benchmarks: several answers in any order, numbers in
scientific notation, tolerances stated by the benchmark.
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
# Nouns that may follow a number without changing its value. An explicit list: "5 million" and "5 factorial" are not 5.
_COUNTED = re.compile(
    r"(?<=[0-9}])\s*(?:dollars?|cents?|seconds?|minutes?|hours?|days?|weeks?|months?|years?|(?:miles|mi) per hour|mph"
    r"|people|students|points|grams?|kilograms?|kg|lit(?:er|re)s?)$"
)
_SCIENTIFIC = re.compile(
    r"(?P<sign>-?)\s*(?P<whole>\d+)(?:\.(?P<digits>\d*))?\s*(?:[eE]|(?:\*|\\times|\\cdot|x)\s*10\s*\^)\s*\{?\s*(?P<power>[-+]?\d{1,3})\s*\}?"
)


@dataclass(frozen=True)
class Item:
    """An answer to grade. `grader` is a name in `GRADERS`; `error` is an absolute tolerance stated by the benchmark."""

    grader: str
    answer: str
    truth: str
    tolerance: float = TOLERANCE
    error: float | None = None


class Grade:
    """The function that a `GradingPool` runs: whether an item's answer is correct."""

    def __call__(self, item: Item) -> bool:
        return GRADERS[item.grader](item)

    def warm_up(self) -> None:
        """Import sympy and the parsers once per worker, and silence their log messages about answers."""
        from echorl_vl.answers.grading import warm_up

        warm_up()
        logging.disable(logging.ERROR)


def default(item: Item) -> bool:
    """The grader behind the metrics. An answer is incorrect unless it is certainly correct."""
    decided = _decided(item)
    if decided is not None:
        return decided
    truths, answers = _parts(item.truth), _parts(item.answer)
    return _one(answers[0], truths[0], item) if len(truths) == 1 else _matched(answers, truths, item)


def by_mathruler(item: Item) -> bool:
    """mathruler's `grade_answer`, as in EasyR1's reward. An answer of more than 400 characters is incorrect."""
    from mathruler.grader import grade_answer

    if len(item.answer) > MAX_SYMPY_ANSWER:
        return False
    return bool(grade_answer(item.answer, item.truth))


def by_math_verify(item: Item) -> bool:
    """math-verify, for LaTeX and plain expressions. An answer of more than 400 characters is incorrect."""
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
    """Grade with the default grader if it needs no sympy (a few microseconds); None if a worker has to decide."""
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
    """Whether two numbers agree in the name before "=" and in the unit; a missing name or unit agrees with any."""
    (name, _, number), (true_name, _, true_number) = (plain(text).rpartition("=") for text in (answer, truth))
    pairs = [(squash(name), squash(true_name)), (split_unit(number)[1], split_unit(true_number)[1])]
    return all(not one or not other or one == other for one, other in pairs)


def _says_more(answer: str, truth: str) -> bool:
    """Whether the answer has a mark after a number that sympy's parsers drop and the truth does not have.

    17:50 may be a ratio or a time, 5' may be feet or minutes, 4210_6 is in base 6. An answer without a base is in the
    base of the truth.
    """
    marks, bases = set(_MARK.findall(answer)), _BASE.findall(answer)
    return not marks <= set(_MARK.findall(truth)) or (bases != [] and bases != _BASE.findall(truth))


def _without_counted(answer: str, truth: str) -> str:
    """Drop a noun such as "minutes" if the truth is a plain number, whose unit the question states."""
    return _COUNTED.sub("", plain(answer)) if value_of(truth) is not None else answer


def _matched(answers: list[str], truths: list[str], item: Item) -> bool:
    """Whether the answers match the truths one to one, in any order (bipartite matching by augmenting paths)."""
    matched: dict[int, int] = {}  # truth -> its answer

    @cache  # a comparison may need sympy
    def fits(answer: int, truth: int) -> bool:
        return _one(answers[answer], truths[truth], item)

    def match(answer: int, tried: set[int]) -> bool:
        """Match an answer to a truth, and move the answers matched before if necessary."""
        for truth in range(len(truths)):
            if truth not in tried and fits(answer, truth):
                tried.add(truth)
                if truth not in matched or match(matched[truth], tried):
                    matched[truth] = answer
                    return True
        return False

    return all(match(answer, set()) for answer in range(len(answers)))


def _scientific(answer: str, truth: str, tolerance: float) -> bool | None:
    """Whether `answer` equals a `truth` in scientific notation at its number of digits: 4.4e7 is 4.35e7 to 4.45e7.

    With a `tolerance` of 0 numbers are exact: 4.4e7 is 44000000. Returns None if the truth is not in scientific
    notation or the answer is not a number.
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
    # Half a unit of the last digit. An integer mantissa such as in 1e9 does not show the precision: 1 percent.
    room = Fraction(1, 2) * Fraction(10) ** -digits if digits else abs(exact) / 100
    return abs(scaled - exact) <= room * (1 + Fraction(1, 10**9))


def value_of(text: str) -> Fraction | None:
    """Return the exact value of a number, also in scientific notation or after a name (x = 5).

    Returns None if the text is not a number or chains several (7 = 5).
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
    """Split "3, 5, 7" at commas outside brackets; a single answer gives a list of one.

    Commas between thousands don't separate answers; a set in braces is split into its elements.
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
