"""What a generated arithmetic problem is: a question in words, and several approaches, correct and incorrect."""

from __future__ import annotations

import re
from dataclasses import dataclass

from echorl_vl.generators.splits import Approach

SIZE, LARGE_SIZE = 50, 99
"""The largest number of a training problem (questions and solutions, correct or incorrect), and of a large one."""

CLOSING = "So the answer is"

_OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a // b}


@dataclass(frozen=True)
class Sketch:
    """What a kind draws. `approaches`: the first one is correct; None stands for one that has no sound arithmetic.

    `form` tells variants of a kind apart that differ in more than their words.
    """

    question: str
    numbers: tuple[int, ...]
    approaches: tuple[Approach | None, ...]
    form: str = "plain"


@dataclass(frozen=True)
class ArithmeticProblem:
    """A generated problem: `approaches` holds the correct one, then incorrect ones with other answers.

    No number in it is above `SIZE`, or, where `large`, above `LARGE_SIZE`.
    """

    kind: str
    question: str
    numbers: tuple[int, ...]
    approaches: tuple[Approach, ...]
    large: bool
    form: str = "plain"

    @property
    def signature(self) -> str:
        """Equal for two problems that differ in names, things and wording alone."""
        return f"{self.kind}|{self.form}|{','.join(map(str, self.numbers))}"

    @property
    def identity(self) -> str:
        return self.signature

    @property
    def answer(self) -> str:
        return self.approaches[0].answer

    def solution(self, approach: int = 0) -> str:
        """A worked solution, one step a line, that ends in \\boxed{...}; `approach` 0 is the correct one."""
        chosen = self.approaches[approach]
        return "\n".join([f"{chosen.idea}.", *chosen.steps, f"{CLOSING} \\boxed{{{chosen.answer}}}."])


def calculate(idea: str, *lines: tuple[int | str, str, int | str]) -> Approach | None:
    """An approach of the calculations `lines`, of which the last gives the answer; None unless all are sound.

    An operand "last" is the result of the line before, "first" that of the first line. Sound: every result is a whole
    number of at least 1.
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
