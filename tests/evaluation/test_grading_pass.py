"""Grading never hangs, can be run again, and reads what benchmarks ask for beyond a reward."""

from __future__ import annotations

import time

import pytest

from echorl_vl.evaluation.benchmarks import get
from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.benchmarks.sources import load
from echorl_vl.evaluation.generation.base import Response
from echorl_vl.evaluation.grading.grade import Grader
from echorl_vl.evaluation.grading.graders import Item, default, quick

HANGS = "9^{9^{9^{9^{9}}}}"


def test_an_answer_that_hangs_a_grader_is_wrong_and_counted_and_the_rest_is_graded():
    questions = [Question("a", "?", "x^2+1"), Question("b", "?", "\\frac{1}{2}"), Question("c", "?", "7")]
    texts = [f"\\boxed{{x^{{{HANGS}}}}}", "\\boxed{0.5}", "\\boxed{7}"]
    began = time.monotonic()
    with Grader(workers=1, time_limit=5.0) as grader:
        grades = grader.grade(questions, [[Response(text, 1, False)] for text in texts])
    assert [one.correct for one in grades.graded] == [(False,), (True,), (True,)]
    assert sum(grades.failures.values()) >= 1
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("4.2", "4.25", True),  # within 0.1, which the benchmark states
        ("4.36", "4.25", False),
        ("1.7, 0.4", "1.68,0.45", True),
        ("0.4, 1.7", "1.68,0.45", True),
        ("1.7, 1.7", "1.68,0.45", False),
    ],
)
def test_the_tolerance_of_a_benchmark(answer, truth, right):
    assert default(Item("default", answer, truth, error=0.1)) is right


@pytest.mark.parametrize(("answer", "right"), [("5.2", True), ("5.1", False)])
def test_the_tolerance_of_the_command(answer, right):
    assert default(Item("default", answer, "3\\sqrt{3}", tolerance=0.01)) is right
    assert default(Item("default", answer, "3\\sqrt{3}", tolerance=0.0001)) is False


@pytest.mark.parametrize(
    ("answer", "truth", "rounded", "exact"),
    [
        ("1.254", "1.25", True, False),
        ("5.196", "3\\sqrt{3}", True, False),
        ("\\frac{5}{4}", "1.25", True, True),
        ("\\sqrt{27}", "3\\sqrt{3}", True, True),
        ("(1.25, \\frac12)", "(\\frac54, 0.5)", True, True),
    ],
)
def test_decimals_of_a_benchmark_whose_numbers_are_exact(answer, truth, rounded, exact):
    with Grader(workers=1) as grader:
        for wanted, kind in ((rounded, False), (exact, True)):
            question = Question("a", "?", truth, exact=kind)
            [graded] = grader.grade([question], [[Response(f"\\boxed{{{answer}}}", 1, False)]]).graded
            assert graded.correct == (wanted,)


def test_each_answer_of_a_list_has_a_truth_of_its_own():
    assert default(Item("default", "2, 1", "1, 2"))
    assert not default(Item("default", "1, 1", "1, 2"))
    for answer in ("1.72, 1.60", "1.60, 1.72"):  # 1.72 is near both, 1.60 near one
        assert default(Item("default", answer, "1.68, 1.75", error=0.1))
    assert not default(Item("default", "1.60, 1.61", "1.68, 1.75", error=0.1))
    assert not default(Item("default", "1, 2, 2", "1, 2"))


def test_what_needs_no_worker_says_the_same():
    pairs = [("5", "5"), ("5.1", "5"), ("5, 6", "5"), ("4.4e7", "4.4e7"), ("5 minutes", "5"), ("x", "5"), ("5:1", "5")]
    assert not default(Item("default", "4210_6", "4210_{5}"))
    for answer, truth in pairs:
        item = Item("default", answer, truth)
        assert quick(item) in (None, default(item)), (answer, truth)
    assert quick(Item("mathruler", "5", "5")) is None


def test_choices_are_compared_as_letters_by_every_grader():
    question = Question("a", "?", "B", "choice", ("3", "5"))
    with Grader(workers=1) as grader:
        grades = grader.grade([question], [[Response("\\boxed{5}", 2, False), Response("\\boxed{A}", 2, True)]])
    assert grades.graded[0].answers == ("B", "A") and grades.graded[0].correct == (True, False)
    assert grades.verdicts == {"mathruler": [(True, False)], "math_verify": [(True, False)]}
    assert grades.graded[0].truncated == (False, True) and grades.disagreements() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["geometry3k", "mathvision", "math500", "minerva", "olympiadbench", "gsm8k", "amc83"])
def test_a_truth_graded_against_itself_is_right(shared_data, name):
    questions = list(load(get(name), shared_data))
    responses = [[Response(f"\\boxed{{{question.answer}}}", 1, False)] for question in questions]
    with Grader(workers=1) as grader:
        grades = grader.grade(questions, responses)
    assert [one.question.answer for one in grades.graded if not one.correct[0]] == []
