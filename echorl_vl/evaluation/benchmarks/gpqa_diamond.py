"""GPQA diamond (Rein et al., 2023): graduate science, four choices. Its authors ask not to republish the questions."""

from __future__ import annotations

from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row
from echorl_vl.evaluation.benchmarks.choices import shuffled_question

_COLUMNS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def read(row: Row) -> Question:
    """The file has the correct answer and three incorrect ones; the seed decides their order."""
    choices = [rows.answer(row, name) for name in _COLUMNS]
    key = rows.uid(row, "Record ID")
    question, subject = rows.text(row, "Question"), rows.label(row, "High-level domain")
    return shuffled_question(key, question, choices, 0, row.seed, f"gpqa_diamond:{key}", subject)


BENCHMARKS = (
    Benchmark(
        name="gpqa_diamond",
        title="GPQA diamond",
        hub=Hub("Idavidrein/gpqa", "train", "gpqa_diamond"),
        files=("**/gpqa_diamond*",),
        editions=(Edition("Idavidrein/gpqa, gpqa_diamond", 198),),
        columns=("Question", *_COLUMNS),
        read=read,
        shuffled=True,
        note="letters; choices shuffled by the seed",
    ),
)
