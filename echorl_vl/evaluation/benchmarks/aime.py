"""AIME 2024 and 2025: 30 problems each, whose answers are integers from 0 to 999."""

from __future__ import annotations

from functools import partial

from echorl_vl.answers.extract import last_boxed
from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row


def read(row: Row) -> Question:
    """Read the answer from its column, or from the box in the solution. "033" is the integer 33."""
    answer = rows.answer(row, "answer", "solution")
    answer = last_boxed(answer) if "\\boxed" in answer else answer
    if answer is None or not answer.isdecimal() or int(answer) > 999:
        raise UserError(f"{row.where}, answer: expected an integer from 0 to 999, got {answer!r}")
    return Question(uid=rows.uid(row, "id"), text=rows.text(row, "problem"), answer=str(int(answer)))


_aime = partial(Benchmark, columns=("problem", ("answer", "solution")), read=read, samples=32, note="integers")

BENCHMARKS = (
    _aime(
        name="aime24",
        title="AIME 2024",
        hub=Hub("HuggingFaceH4/aime_2024", "train"),
        files=("**/aime24*", "**/aime_2024/**/train*"),
        editions=(Edition("AIME 2024, I and II", 30, words="Every morning Aya goes for a"),),
    ),
    _aime(
        name="aime25",
        title="AIME 2025",
        hub=Hub("math-ai/aime25", "test"),
        files=("**/aime25.*", "**/aime25/test*"),
        editions=(Edition("AIME 2025, I and II", 30, words="Find the sum of all integer bases"),),
    ),
)
