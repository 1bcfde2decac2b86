"""MATH-500 (Lightman et al., 2023): 500 problems of the MATH test set, in 7 subjects and 5 levels."""

from __future__ import annotations

from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row


def read(row: Row) -> Question:
    """Answers are LaTeX, exact."""
    return Question(
        uid=rows.uid(row, "unique_id"),
        text=rows.text(row, "problem"),
        answer=rows.answer(row, "answer"),
        exact=True,
        subject=rows.label(row, "subject"),
        level=rows.label(row, "level"),
    )


BENCHMARKS = (
    Benchmark(
        name="math500",
        title="MATH-500",
        hub=Hub("HuggingFaceH4/MATH-500", "test"),
        files=("**/math500*", "**/MATH-500/test*"),
        editions=(Edition("MATH-500", 500),),
        columns=("problem", "answer", "subject", "level"),
        read=read,
        note="free form; numbers are exact",
    ),
)
