"""Arithmetic problems: a question in words with correct and incorrect approaches."""

from __future__ import annotations

import re
from dataclasses import dataclass

from echorl_vl.generators.splits import Approach

SIZE, LARGE_SIZE = 50, 99
"""The largest number in a training problem (question and all solutions), and in a large problem."""

CLOSING = "So the answer is"

_OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a // b}


@dataclass(frozen=True)
class Sketch:
    """A problem of a kind, before its approaches are filtered.

    Attributes:
        question: the question in words.
        numbers: the numbers of the question.
        approaches: the first is correct; None for an approach whose arithmetic is not valid.
        form: the variant of the kind, for variants that differ in more than the wording.
    """

    question: str
    numbers: tuple[int, ...]
    approaches: tuple[Approach | None, ...]
    form: str = "plain"


@dataclass(frozen=True)
class ArithmeticProblem:
    """A generated problem: the correct approach, followed by incorrect ones with other answers.

    All numbers are at most `SIZE`, or `LARGE_SIZE` if the problem is `large`.
    """

    kind: str
    question: str
    numbers: tuple[int, ...]
    approaches: tuple[Approach, ...]
    large: bool
    form: str = "plain"

    @property
    def signature(self) -> str:
        """Equal for problems that differ only in names, things and wording."""
        return f"{self.kind}|{self.form}|{','.join(map(str, self.numbers))}"

    @property
    def identity(self) -> str:
        return self.signature

    @property
    def answer(self) -> str:
        return self.approaches[0].answer

    def solution(self, approach: int = 0) -> str:
        """Return the solution of an approach (0 is correct), one step per line, with the answer in \\boxed{...}."""
        selected = self.approaches[approach]
        return "\n".join([f"{selected.idea}.", *selected.steps, f"{CLOSING} \\boxed{{{selected.answer}}}."])


def calculate(idea: str, *lines: tuple[int | str, str, int | str]) -> Approach | None:
    """Create an approach from calculations, or None if a result is not a whole number of at least 1.

    Args:
        idea: the idea of the approach.
        lines: (operand, operation, operand); the last line gives the answer. The operands "first" and "last" are the
            results of the first and of the previous line.
    """
    results: list[int] = []
    steps = []
    for operands in lines:
        a, b = (
            {"first": results[0], "last": results[-1]}[x] if isinstance(x, str) else x
            for x in (operands[0], operands[2])
        )
        operation = operands[1]
        if operation == "/" and (b == 0 or a % b):
            return None
        results.append(_OPERATIONS[operation](a, b))
        if results[-1] < 1:
            return None
        steps.append(f"{a} {operation} {b} = {results[-1]}")
    return Approach(idea, tuple(steps), str(results[-1]))


def largest_number(*texts: str) -> int:
    return max(int(number) for text in texts for number in re.findall(r"\d+", text))
