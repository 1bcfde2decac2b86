"""MathVista testmini (Lu et al., 2024): mathematics on charts, diagrams and photographs; choices and numbers."""

from __future__ import annotations

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row
from echorl_vl.evaluation.benchmarks.choices import LETTERS, ask


def read(row: Row) -> Question:
    """The answer to a multiple-choice question is the text of the correct choice."""
    question = rows.text(row, "question")
    unit, answer = rows.label(row, "unit"), rows.answer(row, "answer")
    if unit:
        question = f"{question} (unit: {unit})"
    choices = tuple(str(choice) for choice in rows.cell(row, "choices") or ())
    metadata = rows.cell(row, "metadata") or {}
    common = {
        "uid": rows.uid(row, "pid"),
        "images": (rows.image(row, "decoded_image", "image"),),
        "subject": metadata.get("task"),
        "level": metadata.get("grade"),
    }
    if rows.cell(row, "question_type") == "multi_choice":
        if answer not in choices:
            raise UserError(f"{row.where}, answer: expected one of the choices {list(choices)}, got {answer!r}")
        correct = LETTERS[choices.index(answer)]
        return Question(
            text=rows.with_image(ask(question, choices)), answer=correct, kind="choice", choices=choices, **common
        )
    return Question(text=rows.with_image(f"{question}\n{_form(row)}".strip()), answer=answer, **common)


def _form(row: Row) -> str:
    """Return the sentence of the official prompt that asks for the form of the ground truth."""
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
        images=True,
        note="letters for multiple choice, else free form at the precision of the ground truth; the official "
        "evaluation uses a language model to extract the answer",
    ),
)
