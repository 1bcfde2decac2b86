"""MathVista testmini (Lu et al., 2024): mathematics on charts, diagrams and photographs, choices and numbers."""

from __future__ import annotations

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row
from echorl_vl.evaluation.benchmarks.choices import LETTERS, ask


def read(row: Row) -> Question:
    """A question of several choices has the text of the correct one as its answer."""
    question = rows.text(row, "question")
    unit, answer = rows.label(row, "unit"), rows.answer(row, "answer")
    if unit:
        question = f"{question} (unit: {unit})"
    choices = tuple(str(choice) for choice in rows.cell(row, "choices") or ())
    metadata = rows.cell(row, "metadata") or {}
    common = {
        "uid": rows.uid(row, "pid"),
        "images": (rows.picture(row, "decoded_image", "image"),),
        "subject": metadata.get("task"),
        "level": metadata.get("grade"),
    }
    if rows.cell(row, "question_type") == "multi_choice":
        if answer not in choices:
            raise UserError(f"{row.where}, answer: {answer!r} is none of the choices {list(choices)}")
        correct = LETTERS[choices.index(answer)]
        return Question(
            text=rows.with_picture(ask(question, choices)), answer=correct, kind="choice", choices=choices, **common
        )
    return Question(text=rows.with_picture(f"{question}\n{_form(row)}".strip()), answer=answer, **common)


def _form(row: Row) -> str:
    """The form that the ground truth has, which the official prompt asks for too."""
    kind = rows.cell(row, "answer_type")
    if kind == "integer":
        return "The answer is an integer."
    if kind == "float":
        digits = rows.whole_number(row, "precision") if rows.cell(row, "precision") else 1
        return f"Round the answer to {digits} decimal place{'s' if digits > 1 else ''}."
    return "The answer is a list such as [1, 2, 3]." if kind == "list" else ""


BENCHMARKS = (
    Benchmark(
        name="mathvista",
        title="MathVista, testmini",
        hub=Hub("AI4Math/MathVista", "testmini"),
        files=("**/[Mm]ath[Vv]ista/testmini*.parquet", "**/[Mm]ath[Vv]ista/data/testmini*.parquet"),
        editions=(Edition("AI4Math/MathVista, testmini", 1000),),
        columns=("pid", "question", "answer", "question_type", "answer_type", ("decoded_image", "image")),
        read=read,
        pictures=True,
        note="letters for multiple choice, else free form at the precision of the ground truth; the official "
        "evaluation has a language model extract the answer",
    ),
)
