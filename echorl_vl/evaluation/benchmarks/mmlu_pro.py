"""MMLU-Pro test (Wang et al., 2024): 14 fields, up to ten choices; out of domain for a mathematics model."""

from __future__ import annotations

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row
from echorl_vl.evaluation.benchmarks.choices import LETTERS, shuffled_question


def read(row: Row) -> Question:
    """`answer_index` counts from 0 and has to agree with the letter in `answer`."""
    choices = [str(choice) for choice in rows.cell(row, "options") or ()]
    key, correct = rows.uid(row, "question_id"), rows.whole_number(row, "answer_index")
    if not 0 <= correct < len(choices) or rows.answer(row, "answer") != LETTERS[correct]:
        raise UserError(
            f"{row.where}, answer: {rows.cell(row, 'answer')!r} and answer_index {correct} name different choices "
            f"(of {len(choices)})"
        )
    question, subject = rows.text(row, "question"), rows.label(row, "category")
    return shuffled_question(key, question, choices, correct, row.seed, f"mmlu_pro:{key}", subject)


BENCHMARKS = (
    Benchmark(
        name="mmlu_pro",
        title="MMLU-Pro, test",
        hub=Hub("TIGER-Lab/MMLU-Pro", "test"),
        files=("**/mmlu_pro*", "**/MMLU-Pro/**/test*"),
        editions=(Edition("TIGER-Lab/MMLU-Pro, test", 12032),),
        columns=("question_id", "question", "options", "answer", "answer_index", "category"),
        read=read,
        shuffled=True,
        note="letters; choices shuffled by the seed",
    ),
)
