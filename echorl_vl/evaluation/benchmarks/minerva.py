"""Minerva's OCWCourses (Lewkowycz et al., 2022): undergraduate science problems, answers boxed in the solutions."""

from __future__ import annotations

from echorl_vl.answers.extract import last_boxed
from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row


def read(row: Row) -> Question:
    """The unit follows the box in the solution and is given in the question: it is not part of the answer."""
    answer = rows.answer(row, "answer", "solution")
    if "\\boxed" in answer or "answer" not in row.values:
        boxed = last_boxed(answer)
        if not boxed:
            raise UserError(f"{row.where}, solution: expected an answer in \\boxed{{...}}, got none")
        answer = boxed.replace("$", " ").strip()
    text = rows.text(row, "problem", "question")
    # Questions about one setting begin with it: "Preamble: ...", or with the question before, "Subproblem 0: ...".
    opening = text.partition("\n")[0].strip()
    return Question(
        uid=rows.uid(row, "idx"),
        text=text,
        answer=answer,
        subject=rows.label(row, "type"),
        cluster=opening if opening.startswith(("Preamble:", "Subproblem 0:")) else "",
    )


BENCHMARKS = (
    Benchmark(
        name="minerva",
        title="Minerva Math (OCWCourses)",
        hub=Hub("math-ai/minervamath", "test"),
        files=("**/minerva*", "**/minervamath/test*"),
        editions=(Edition("OCWCourses", 272),),
        columns=(("problem", "question"), ("answer", "solution")),
        read=read,
        note="free form; a number such as 4.4e7 is compared at its number of digits",
    ),
)
