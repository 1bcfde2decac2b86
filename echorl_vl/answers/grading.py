"""Is this answer correct? `grade(answer, ground_truth)` is a pure function, without processes or a clock.

extract -> parse -> compare: the text of an answer becomes one of the kinds in `kinds`, and two answers are compared by
kind (`compare`), numbers and expressions by `equality`, whose docstring says when a decimal is accepted. A false
positive teaches the policy something false and a false negative costs only a little signal, so an uncertain answer
counts as incorrect.

Units matter only if both sides have one: 5 cm is 5 and 0.05 m, but not 5 m. The same holds for a name before "=": x = 5
is 5, but not y = 5. A single letter of the ground truth that is not marked as text is a variable, not a unit: 6m is
not 6.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from fractions import Fraction

from echorl_vl.answers.compare import compare
from echorl_vl.answers.equality import Options, UndecidedError
from echorl_vl.answers.evaluate import try_exact
from echorl_vl.answers.extract import last_boxed
from echorl_vl.answers.kinds import Assignment, Value
from echorl_vl.answers.parse import parse
from echorl_vl.answers.verdict import Verdict

_INTEGER = re.compile(r"-?[0-9]{1,18}")
DEFAULT = Options()
FAULT = "the checker failed"
logger = logging.getLogger(__name__)


def grade(answer: str | None, ground_truth: str, options: Options = DEFAULT) -> bool:
    """Whether an answer is correct.

    Args:
        answer: the answer itself, or a text whose last \\boxed{...} holds it; None is incorrect.
        ground_truth: in the same forms.
        options: tolerance, units, rounding.

    Raises:
        ValueError: `ground_truth` is empty.
    """
    return explain(answer, ground_truth, options).correct


def explain(answer: str | None, ground_truth: str, options: Options = DEFAULT) -> Verdict:
    """`grade`, with the reason as a sentence."""
    truth = bare_answer(str(ground_truth)) if ground_truth is not None else None
    if not truth:
        raise ValueError("the ground truth is empty: every problem needs an answer to grade against")
    answer = bare_answer(str(answer)) if answer is not None else None
    if not answer:
        return Verdict(False, "there is no answer")
    if answer == truth:
        return Verdict(True, "the same text")
    if _INTEGER.fullmatch(answer) and _INTEGER.fullmatch(truth) and options.error is None:
        correct = int(answer) == int(truth)
        return Verdict(correct, f"{int(answer)} {'is' if correct else 'is not'} {int(truth)}")
    try:
        return compare(parse(answer), parse(truth), options)
    except UndecidedError:
        raise
    except Exception as error:  # a fault of this package must not end a run
        logger.warning("grading %r against %r: %r", answer[:200], truth[:200], error)
        return Verdict(False, f"{FAULT}: {error!r}")


def decide(answer: str | None, ground_truth: str, options: Options = DEFAULT) -> bool | None:
    """`grade` for answers without variables; None where expressions have to be evaluated, which a worker should do.

    Raises:
        ValueError: as `grade`.
    """
    try:
        return grade(answer, ground_truth, replace(options, quick=True))
    except UndecidedError:
        return None


def value_of(text: str) -> Fraction | None:
    """The exact value of a number, also after a name (x = 5) or with a unit; None for all else."""
    answer = parse(text)
    if isinstance(answer, Assignment):
        answer = answer.value
    if not isinstance(answer, Value):
        return None
    return try_exact(answer.readings[0].tree)


def warm_up() -> None:
    """Import what `grade` needs for numbers that are not rational."""
    import mpmath  # noqa: F401


class PooledGrade:
    """`grade` for a `GradingPool`, whose items are (answer, ground truth, options)."""

    def __call__(self, item: tuple[str, str, Options]) -> bool:
        return grade(*item)

    def warm_up(self) -> None:
        warm_up()


def bare_answer(text: str) -> str | None:
    """Content of the last \\boxed{...}, or the whole text if it has no box; None if that is empty."""
    return (last_boxed(text) if "\\boxed" in text or "\\fbox" in text else text.strip()) or None
