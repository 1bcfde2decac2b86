"""Graders of free-form answers: the default grader, mathruler, math-verify. They run in worker processes.

The default is the checker of the rewards, `echorl_vl.answers`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from echorl_vl.answers.equality import Options
from echorl_vl.answers.grading import DEFAULT, decide, grade

_LONGEST = 400  # characters; sympy, which the other two graders use, takes minutes on some longer answers


@dataclass(frozen=True)
class Item:
    """An answer to grade. `grader` is a name in `GRADERS`; `options` are those of the default grader."""

    grader: str
    answer: str
    truth: str
    options: Options = DEFAULT


class Grade:
    """The function that a `GradingPool` runs: whether an item's answer is correct."""

    def __call__(self, item: Item) -> bool:
        return GRADERS[item.grader](item)

    def warm_up(self) -> None:
        """Import sympy and the parsers once per worker, and silence their log messages about answers."""
        import math_verify  # noqa: F401
        from mathruler import grader  # noqa: F401

        from echorl_vl.answers.grading import warm_up

        warm_up()
        logging.disable(logging.ERROR)


def default(item: Item) -> bool:
    """The grader behind the metrics. An answer is incorrect unless it is certainly correct."""
    return grade(item.answer, item.truth, item.options)


def by_mathruler(item: Item) -> bool:
    """mathruler's `grade_answer`, as in EasyR1's reward. An answer of more than 400 characters is incorrect."""
    from mathruler.grader import grade_answer

    if len(item.answer) > _LONGEST:
        return False
    return bool(grade_answer(item.answer, item.truth))


def by_math_verify(item: Item) -> bool:
    """math-verify, for LaTeX and plain expressions. An answer of more than 400 characters is incorrect."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    if len(item.answer) > _LONGEST:
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
    """Grade with the default grader where that takes microseconds; None if a worker has to decide."""
    return decide(item.answer, item.truth, item.options) if item.grader == "default" else None
