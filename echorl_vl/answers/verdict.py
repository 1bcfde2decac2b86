"""What a comparison returns, and what its rules get to compare parts of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from echorl_vl.answers.equality import Options
from echorl_vl.answers.kinds import Answer


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is correct, and why."""

    correct: bool
    reason: str

    def __bool__(self) -> bool:
        return self.correct


class Comparer(Protocol):
    """Compares two answers, or parts of them, under its options."""

    options: Options

    def __call__(self, answer: Answer, truth: Answer) -> Verdict: ...


def judged(correct: bool, answer: Answer, truth: Answer) -> Verdict:
    """The verdict on two answers that were compared as a whole."""
    return Verdict(correct, f"{answer} {'is' if correct else 'is not'} {truth}")
