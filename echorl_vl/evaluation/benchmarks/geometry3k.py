"""Geometry3K test (Lu et al., 2021): geometry problems with a diagram and a numeric answer."""

from __future__ import annotations

from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row


def read(row: Row) -> Question:
    """The questions on the hub already contain `<image>`."""
    return Question(
        uid=rows.uid(row, "id"),
        text=rows.text(row, "problem"),
        answer=rows.answer(row, "answer"),
        images=(rows.image(row, "images"),),
    )


BENCHMARKS = (
    Benchmark(
        name="geometry3k",
        title="Geometry3K, test",
        hub=Hub("hiyouga/geometry3k", "test"),
        files=("**/geometry3k/test*.parquet", "**/geometry3k/data/test*.parquet", "test*.parquet"),
        editions=(
            Edition("hiyouga/geometry3k, the whole test split", 601),
            Edition("the part of it that FormalGeo7k has, with formal annotations", 553, ("literals", "theorems")),
        ),
        columns=("problem", "answer", "images"),
        read=read,
        images=True,
        note="free form; a decimal is correct if it is the exact value, correctly rounded",
    ),
)
