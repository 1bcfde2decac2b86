"""MathVerse testmini (Zhang et al., 2024): 788 problems in 5 versions, from all text to all in the image."""

from __future__ import annotations

import re
from collections.abc import Sequence

from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, GradedQuestion, Hub, Question, Row
from echorl_vl.evaluation.benchmarks.choices import INSTRUCTION, LETTERS

_CHOICE = re.compile(r"^\s*\(?([A-H])\s*[:.)]\s*(.+?)\s*$", re.MULTILINE)
_DEFAULT = ("A", "B", "C", "D")


def read(row: Row) -> Question:
    """The question contains its choices as lines `A:2`; in the version "Vision Only" the image contains everything."""
    question = rows.label(row, "question") or "The question is in the picture."
    choice = rows.cell(row, "question_type") == "multi-choice"
    choices = _choices(rows.cell(row, "question_for_eval", "question") or "") if choice else ()
    metadata = rows.cell(row, "metadata") or {}
    return Question(
        uid=rows.uid(row, "sample_index"),
        text=rows.with_image(f"{question}\n{INSTRUCTION}" if choice else question),
        answer=rows.letter(row, "answer", len(choices)) if choice else rows.answer(row, "answer"),
        kind="choice" if choice else "free_form",
        choices=choices,
        images=(rows.image(row, "image"),),
        subject=metadata.get("subject"),
        cluster=rows.key(row, "problem_index"),
        groups={"version": rows.text(row, "problem_version")},
    )


def by_version(graded: Sequence[GradedQuestion]) -> dict[str, float]:
    """Return the accuracy of each problem version. Each has the same 788 problems: their mean is the accuracy."""
    versions: dict[str, list[float]] = {}
    for one in graded:
        versions.setdefault(one.question.groups["version"], []).append(one.accuracy)
    return {f"accuracy, {version}": sum(values) / len(values) for version, values in sorted(versions.items())}


def _choices(text: str) -> tuple[str, ...]:
    """Return the texts of the choices A, B, ...; their letters if the question does not contain the texts."""
    found = [match for match in _CHOICE.finditer(text.partition("Choices:")[2] or text)]
    in_order = [m[2] for index, m in enumerate(found) if index < len(LETTERS) and m[1] == LETTERS[index]]
    return tuple(in_order) if len(in_order) == len(found) > 1 else _DEFAULT


BENCHMARKS = (
    Benchmark(
        name="mathverse",
        title="MathVerse, testmini",
        hub=Hub("AI4Math/MathVerse", "testmini", "testmini"),
        files=("**/[Mm]ath[Vv]erse/testmini.parquet", "**/[Mm]ath[Vv]erse/testmini-*.parquet"),
        editions=(Edition("AI4Math/MathVerse, testmini", 3940),),
        columns=("sample_index", "problem_index", "problem_version", "question", "image", "answer", "question_type"),
        read=read,
        own_metrics=by_version,
        images=True,
        note="letters for multiple choice, else free form; accuracy of each problem version; the official "
        "evaluation uses a language model to extract and score",
    ),
)
