"""The metrics of We-Math, HallusionBench and MathVerse against written-out references."""

from __future__ import annotations

import random

import pytest

from echorl_vl.evaluation.benchmarks.base import GradedQuestion, Question
from echorl_vl.evaluation.benchmarks.hallusionbench import consistency
from echorl_vl.evaluation.benchmarks.mathverse import by_version
from echorl_vl.evaluation.benchmarks.wemath import four_dimensions
from echorl_vl.evaluation.report import _number


def one(question: Question, *correct: bool) -> GradedQuestion:
    return GradedQuestion(question, ("x",) * len(correct), correct, (False,) * len(correct), (1,) * len(correct))


def wemath(problem: str, steps: int, *verdicts: bool) -> list[GradedQuestion]:
    """Return a problem of `steps` steps, given the verdicts on the steps and then on the problem."""
    parts = [*map(str, range(1, steps + 1)), "multi"]
    return [
        one(
            Question(f"{problem}{part}", "?", "A", groups={"problem": problem, "steps": str(steps), "part": part}),
            verdict,
        )
        for part, verdict in zip(parts, verdicts, strict=True)
    ]


def test_wemath_by_hand():
    graded = [
        *wemath("mastered", 2, True, True, True),
        *wemath("not generalized", 2, True, True, False),
        *wemath("insufficient knowledge", 3, True, False, True, False),
        *wemath("by rote, one step incorrect", 3, True, False, True, True),
        *wemath("by rote, all steps incorrect", 2, False, False, True),
    ]
    metrics = four_dimensions(graded)
    assert metrics["problems of several steps"] == 5
    assert metrics["insufficient knowledge"] == metrics["inadequate generalization"] == 0.2
    assert metrics["complete mastery (strict)"] == 0.2 and metrics["complete mastery (loose)"] == 0.4
    assert metrics["rote memorization (strict)"] == pytest.approx(2 / 3)
    assert metrics["rote memorization (loose)"] == pytest.approx(1 / 3)
    assert metrics["score (strict)"] == pytest.approx((5 - 0.5 - 1 - 2) / 5)
    assert metrics["score (loose)"] == pytest.approx((5 - 0.5 - 1 - 1) / 5)


def test_wemath_against_the_published_conditions():
    """Compare with the conditions of the authors' script, on random verdicts."""
    draw = random.Random(3)
    problems = [(f"p{i}", 2 + i % 2, [draw.random() < 0.6 for _ in range(3 + i % 2)]) for i in range(60)]
    metrics = four_dimensions([g for name, steps, verdicts in problems for g in wemath(name, steps, *verdicts)])
    ig = ik = rm_strict = rm_loose = 0
    for _, _, (*steps, whole) in problems:
        ig += all(steps) and not whole
        ik += any(not step for step in steps) and not whole
        rm_strict += any(not step for step in steps) and whole
        rm_loose += all(not step for step in steps) and whole
    assert metrics["score (strict)"] == pytest.approx((60 - 0.5 * ig - rm_strict - ik) / 60)
    assert metrics["score (loose)"] == pytest.approx((60 - 0.5 * ig - rm_loose - ik) / 60)


def test_wemath_without_a_complete_problem_has_no_metrics():
    assert four_dimensions(wemath("p", 2, True, True, True)[:2]) == {}


def test_counts_are_not_averaged():
    metrics = four_dimensions(wemath("p", 2, True, True, True))
    assert metrics["problems of several steps"] == 1 and _number(metrics["problems of several steps"]) == "1"
    assert _number(metrics["score (strict)"]) == "100.0 %"


def hallusion(figure: str, question: str, *correct: bool) -> GradedQuestion:
    groups = {"category": "VD", "subcategory": "map", "set_id": "0", "figure_id": figure, "question_id": question}
    return one(Question(f"{figure}{question}", "?", "yes", "yes_no", groups=groups), *correct)


def test_hallusionbench_by_hand():
    graded = [
        hallusion("0", "0", True),
        hallusion("0", "1", True),
        hallusion("1", "0", True),
        hallusion("1", "1", False),
        hallusion("2", "0", True),
    ]
    assert consistency(graded) == {
        "aAcc": pytest.approx(4 / 5),
        "qAcc": pytest.approx(1 / 2),  # question 0 is correct on all figures, question 1 is not
        "fAcc": pytest.approx(2 / 3),  # figures 0 and 2
    }


def test_consistency_uses_one_response_per_question():
    """Each question has one correct response of two, and no response index is correct on both questions."""
    graded = [hallusion("0", "0", True, False), hallusion("0", "1", False, True)]
    assert consistency(graded) == {"aAcc": 0.5, "qAcc": 0.5, "fAcc": 0.0}


def test_mathverse_versions():
    def row(version: str, *correct: bool) -> GradedQuestion:
        return one(Question(f"{version}{correct}", "?", "A", groups={"version": version}), *correct)

    graded = [row("Text Lite", True, False), row("Text Lite", True, True), row("Vision Only", False, False)]
    assert by_version(graded) == {"accuracy, Text Lite": 0.75, "accuracy, Vision Only": 0.0}
