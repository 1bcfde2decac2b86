"""HallusionBench (Guan et al., 2024): yes-or-no questions about images, some of them edited to mislead."""

from __future__ import annotations

from collections.abc import Sequence

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import (
    Benchmark,
    Edition,
    GradedQuestion,
    Hub,
    Question,
    Row,
    Verdicts,
    all_correct_share,
    over_samples,
)


def read(row: Row) -> Question:
    """`gt_answer` is "1" for yes and "0" for no."""
    truth = rows.answer(row, "gt_answer")
    if truth not in ("0", "1"):
        raise UserError(f"{row.where}, gt_answer: expected 0 or 1, got {truth!r}")
    names = ("category", "subcategory", "set_id", "figure_id", "question_id")
    groups = {name: rows.key(row, name) for name in names}
    return Question(
        uid="_".join(groups.values()),
        text=rows.with_image(f"{rows.text(row, 'question')}\nAnswer yes or no."),
        answer="yes" if truth == "1" else "no",
        kind="yes_no",
        images=(rows.image(row, "image", "filename"),),
        subject=f"{groups['category']}/{groups['subcategory']}",
        cluster="/".join(groups[name] for name in ("category", "subcategory", "set_id")),
        groups=groups,
    )


def consistency(graded: Sequence[GradedQuestion]) -> dict[str, float]:
    """Return the shares of correct answers (aAcc), of questions correct on all figures (qAcc), of figures with all
    questions correct (fAcc).

    They are computed as in the authors' evaluation, on the questions with an image.
    """
    return over_samples(graded, _consistency)


def _consistency(verdicts: Verdicts) -> dict[str, float]:
    kind = ("category", "subcategory", "set_id")
    return {
        "aAcc": sum(correct for _, correct in verdicts) / len(verdicts),
        "qAcc": all_correct_share(verdicts, *kind, "question_id"),
        "fAcc": all_correct_share(verdicts, *kind, "figure_id"),
    }


BENCHMARKS = (
    Benchmark(
        name="hallusionbench",
        title="HallusionBench, questions with an image",
        hub=Hub("lmms-lab/HallusionBench", "image"),
        files=("**/[Hh]allusion[Bb]ench/image*.parquet", "**/[Hh]allusion[Bb]ench/data/image*.parquet"),
        editions=(Edition("lmms-lab/HallusionBench, image", 951),),
        columns=("category", "subcategory", "set_id", "figure_id", "question_id", "question", "gt_answer", "image"),
        read=read,
        own_metrics=consistency,
        images=True,
        note="yes or no; aAcc, qAcc, fAcc; the 178 questions without an image are left out, as in lmms-eval; the "
        "official evaluation uses a language model as judge",
    ),
)
