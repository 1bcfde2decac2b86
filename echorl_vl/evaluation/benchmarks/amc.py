"""AMC 12: 40 problems of 2023, or 83 of 2022 and 2023, rewritten from multiple choice to integer answers."""

from __future__ import annotations

from functools import partial

from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row


def read(row: Row) -> Question:
    """Answers are integers; some files store them as floats."""
    return Question(
        uid=rows.uid(row, "id"), text=rows.text(row, "problem", "question"), answer=rows.answer(row, "answer")
    )


_amc = partial(Benchmark, columns=(("problem", "question"), "answer"), read=read, samples=32, note="integers")

BENCHMARKS = (
    _amc(
        name="amc23",
        title="AMC 12, 2023",
        hub=Hub("math-ai/amc23", "test"),
        files=("**/amc23*", "**/amc23/**/test*"),
        editions=(Edition("AMC 12 of 2023", 40),),
    ),
    _amc(
        name="amc83",
        title="AMC 12, 2022 and 2023",
        hub=Hub("AI-MO/aimo-validation-amc", "train"),
        files=("**/amc83*", "**/aimo-validation-amc/**/train*"),
        editions=(Edition("AMC 12 of 2022 and 2023", 83),),
    ),
)
