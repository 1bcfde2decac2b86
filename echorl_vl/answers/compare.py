"""Compare a parsed answer with a parsed ground truth: a verdict with its reason. What is not certain is incorrect."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from echorl_vl.answers import compare_equations as for_equations
from echorl_vl.answers import compare_names as for_names
from echorl_vl.answers import compare_numerals as for_numerals
from echorl_vl.answers import compare_sets as for_sets
from echorl_vl.answers import compare_values as for_values
from echorl_vl.answers.equality import Options
from echorl_vl.answers.kinds import (
    Answer,
    Assignment,
    Based,
    Chain,
    Choice,
    Clock,
    Equation,
    Inequality,
    Intervals,
    Items,
    Matrix,
    Named,
    Ratio,
    Statement,
    Value,
    Words,
)
from echorl_vl.answers.verdict import Verdict


def compare(answer: Answer, truth: Answer, options: Options) -> Verdict:
    """Compare two answers by their kinds."""
    return _Comparer(options)(answer, truth)


@dataclass(frozen=True)
class _Comparer:
    options: Options

    def __call__(self, answer: Answer, truth: Answer) -> Verdict:
        if (
            _squeezed(answer.text) == _squeezed(truth.text)
            and type(answer) is type(truth)
            and not isinstance(truth, Clock)
        ):
            return Verdict(True, "the same text")
        for answers, truths, rule in _RULES:
            if isinstance(answer, answers) and isinstance(truth, truths):
                return rule(answer, truth, self)
        return Verdict(False, f"expected {truth}, got {answer}")


def _squeezed(text: str) -> str:
    """A text without spaces between letters and digits: N 30 is N30, \\pmod 7 is \\pmod7."""
    return _SPACE.sub("", text)


_SPACE = re.compile(r"(?<=[A-Za-z]) (?=[0-9])|(?<=[0-9]) (?=[A-Za-z])")
Kinds = type | tuple[type, ...]
# The first rule whose kinds fit decides.
_RULES: list[tuple[Kinds, Kinds, Callable[..., Verdict]]] = [
    (Value, Value, for_values.values),
    (Assignment, Assignment, for_equations.assignments),
    ((Assignment, Equation), Equation, for_equations.equations),
    (Equation, Assignment, for_equations.equations),
    (Answer, Assignment, for_equations.to_value),
    (Assignment, Answer, for_equations.from_value),
    (Chain, Answer, for_equations.chains),
    (Answer, Chain, for_equations.to_chain),
    (Inequality, Inequality, for_equations.inequalities),
    (Intervals, (Intervals, Items), for_sets.intervals),
    (Items, Intervals, for_sets.intervals),
    (Items, Items, for_sets.items),
    (Matrix, Matrix, for_sets.matrices),
    (Matrix, Items, for_sets.vector),
    (Items, Matrix, for_sets.vector),
    (Ratio, Ratio, for_numerals.ratios),
    (Clock, Clock, for_numerals.clocks),
    (Clock, (Ratio, Value), for_numerals.clock_ratio),
    ((Ratio, Value), Clock, for_numerals.clock_ratio),
    (Value, Ratio, for_numerals.fraction),
    (Ratio, Value, for_numerals.fraction),
    (Based, Answer, for_numerals.bases),
    (Answer, Based, for_numerals.bases),
    (Named, Named, for_names.named),
    (Choice, Choice, for_names.choices),
    ((Words, Choice), (Words, Choice), for_names.words),
    (Words, Named, for_names.words),
    (Named, Words, for_names.words),
    (Statement, Statement, for_names.statements),
    (Value, (Items, Matrix), for_sets.components),
    ((Items, Matrix), Value, for_sets.components),
    (Named, Items, for_names.letters),
    (Items, Named, for_names.letters),
    (Named, Choice, for_names.point),
    (Choice, Named, for_names.point),
    (Items, Answer, for_sets.single),
    (Answer, Items, for_sets.single),
]
