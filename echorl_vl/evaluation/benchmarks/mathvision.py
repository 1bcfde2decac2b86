"""MATH-Vision (Wang et al., 2024): competition problems with an image, in 16 subjects and 5 levels."""

from __future__ import annotations

from functools import partial

from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row
from echorl_vl.evaluation.benchmarks.choices import ask


def read(row: Row) -> Question:
    """About half of the questions have five choices; many of these are part of the image."""
    question = rows.text(row, "question")
    choices = tuple(str(choice) for choice in rows.cell(row, "options") or ())
    return Question(
        uid=rows.uid(row, "id"),
        text=rows.with_image(ask(question, choices) if choices else question),
        answer=rows.letter(row, "answer", len(choices)) if choices else rows.answer(row, "answer"),
        kind="choice" if choices else "free_form",
        exact=True,
        choices=choices,
        images=(rows.image(row, "decoded_image", "image"),),
        subject=rows.label(row, "subject"),
        level=rows.label(row, "level"),
    )


_mathvision = partial(
    Benchmark,
    columns=("id", "question", "options", "answer", "subject", "level", ("decoded_image", "image")),
    read=read,
    images=True,
    note="letters for multiple choice, else free form; numbers are exact",
)

BENCHMARKS = (
    _mathvision(
        name="mathvision",
        title="MATH-Vision, testmini",
        hub=Hub("MathLLMs/MathVision", "testmini"),
        files=("**/[Mm]ath[Vv]ision/testmini*", "**/[Mm]ath[Vv]ision/data/testmini*", "testmini.jsonl"),
        editions=(Edition("MathLLMs/MathVision, testmini", 304),),
    ),
    _mathvision(
        name="mathvision_test",
        title="MATH-Vision, test",
        hub=Hub("MathLLMs/MathVision", "test"),
        files=("**/[Mm]ath[Vv]ision/test[.-]*", "**/[Mm]ath[Vv]ision/data/test[.-]*", "test.jsonl"),
        editions=(Edition("MathLLMs/MathVision, test", 3040),),
    ),
)
