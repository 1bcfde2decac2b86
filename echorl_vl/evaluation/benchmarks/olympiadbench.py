"""OlympiadBench (He et al., 2024): open-ended English mathematics problems, text only."""

from __future__ import annotations

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row


def read(row: Row) -> Question:
    """`final_answer` is a list with one text, which separates several answers by commas; `error` is an absolute
    tolerance."""
    answers = rows.cell(row, "final_answer", "answer")
    answers = [answers] if isinstance(answers, str) else answers
    if not answers or not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise UserError(f"{row.where}, final_answer: expected a list with the answer as text, got {answers!r}")
    error, unit = rows.label(row, "error"), rows.label(row, "unit")
    context = rows.label(row, "context")
    question = rows.text(row, "question", "problem")
    question = f"{context}\n{question}" if context else question
    try:
        error = None if error is None else float(error)
    except ValueError:
        raise UserError(f"{row.where}, error: expected a tolerance such as 1e-1, got {error!r}") from None
    return Question(
        uid=rows.uid(row, "id"),
        text=f"{question}\nGive the answer in {unit}, without the unit." if unit else question,
        answer=", ".join(answer.strip() for answer in answers),
        subject=rows.label(row, "subfield"),
        level=rows.label(row, "answer_type"),
        error=error,
        exact=True,
    )


BENCHMARKS = (
    Benchmark(
        name="olympiadbench",
        title="OlympiadBench, English mathematics without images",
        hub=Hub("Hothan/OlympiadBench", "train", "OE_TO_maths_en_COMP"),
        files=("**/olympiad[_-]bench*", "**/olympiadbench*", "**/OE_TO_maths_en_COMP/*"),
        editions=(
            Edition("OE_TO_maths_en_COMP as Qwen2.5-Math evaluates it", 675),
            Edition("OE_TO_maths_en_COMP on the hub", 674),
        ),
        columns=(("question", "problem"), ("final_answer", "answer")),
        read=read,
        note="free form; several answers in any order; tolerance of the file, else exact; level: type of the answer",
    ),
)
