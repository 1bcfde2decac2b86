"""Grading never hangs, can be repeated, and supports the tolerances and lists of benchmarks."""

from __future__ import annotations

import time

import pytest

from echorl_vl.answers.equality import Options
from echorl_vl.evaluation.benchmarks import get
from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.benchmarks.sources import load
from echorl_vl.evaluation.generation.base import Response
from echorl_vl.evaluation.grading.grade import Grader
from echorl_vl.evaluation.grading.graders import Item, default, quick

HANGS = "9^{9^{9^{9^{9}}}}"


def test_an_answer_that_hangs_a_grader_is_incorrect_and_counted_as_a_failure():
    questions = [Question("a", "?", "x^2+1"), Question("b", "?", "\\frac{1}{2}"), Question("c", "?", "7")]
    texts = [f"\\boxed{{x^{{{HANGS}}}}}", "\\boxed{0.5}", "\\boxed{7}"]
    started = time.monotonic()
    with Grader(workers=1, time_limit=5.0) as grader:
        grades = grader.grade(questions, [[Response(text, 1, False)] for text in texts])
    assert [one.correct for one in grades.graded] == [(False,), (True,), (True,)]
    assert sum(grades.failures.values()) >= 1
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("answer", "truth", "correct"),
    [
        ("4.2", "4.25", True),  # within 0.1, the tolerance of the benchmark
        ("4.36", "4.25", False),
        ("1.7, 0.4", "1.68,0.45", True),
        ("0.4, 1.7", "1.68,0.45", True),
        ("1.7, 1.7", "1.68,0.45", False),
    ],
)
def test_the_tolerance_of_a_benchmark(answer, truth, correct):
    assert default(Item("default", answer, truth, Options(error=0.1))) is correct


@pytest.mark.parametrize(("answer", "correct"), [("5.2", True), ("5.1", False)])
def test_the_tolerance_option(answer, correct):
    assert default(Item("default", answer, "3\\sqrt{3}", Options(0.01))) is correct
    assert default(Item("default", answer, "3\\sqrt{3}", Options(0.0001))) is False


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
def test_decimals_if_the_numbers_of_a_benchmark_are_exact(answer, truth, rounded, exact):
    with Grader(workers=1) as grader:
        for expected, is_exact in ((rounded, False), (exact, True)):
            question = Question("a", "?", truth, exact=is_exact)
            [graded] = grader.grade([question], [[Response(f"\\boxed{{{answer}}}", 1, False)]]).graded
            assert graded.correct == (expected,)


def test_lists_of_answers_are_matched_one_to_one():
    assert default(Item("default", "2, 1", "1, 2"))
    assert not default(Item("default", "1, 1", "1, 2"))
    for answer in ("1.72, 1.60", "1.60, 1.72"):  # 1.72 is near both, 1.60 near one
        assert default(Item("default", answer, "1.68, 1.75", Options(error=0.1)))
    assert not default(Item("default", "1.60, 1.61", "1.68, 1.75", Options(error=0.1)))
    assert not default(Item("default", "1, 2, 2", "1, 2"))


def test_grading_without_a_worker_gives_the_same_verdicts():
    pairs = [("5", "5"), ("5.1", "5"), ("5, 6", "5"), ("4.4e7", "4.4e7"), ("5 minutes", "5"), ("x", "5"), ("5:1", "5")]
    assert not default(Item("default", "4210_6", "4210_{5}"))
    for answer, truth in pairs:
        item = Item("default", answer, truth)
        assert quick(item) in (None, default(item)), (answer, truth)
    assert quick(Item("mathruler", "5", "5")) is None


def test_every_grader_compares_choices_as_letters():
    question = Question("a", "?", "B", "choice", ("3", "5"))
    with Grader(workers=1) as grader:
        grades = grader.grade([question], [[Response("\\boxed{5}", 2, False), Response("\\boxed{A}", 2, True)]])
    assert grades.graded[0].answers == ("B", "A") and grades.graded[0].correct == (True, False)
    assert grades.verdicts == {"mathruler": [(True, False)], "math_verify": [(True, False)]}
    assert grades.graded[0].truncated == (False, True) and grades.disagreements() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["geometry3k", "mathvision", "math500", "minerva", "olympiadbench", "gsm8k", "amc83"])
def test_every_ground_truth_is_correct_against_itself(shared_data, name):
    questions = list(load(get(name), shared_data))
    responses = [[Response(f"\\boxed{{{question.answer}}}", 1, False)] for question in questions]
    with Grader(workers=1) as grader:
        grades = grader.grade(questions, responses)
    assert [one.question.answer for one in grades.graded if not one.correct[0]] == []


def test_the_metrics_are_of_the_chosen_grader():
    questions = [Question("a", "?", "5 m"), Question("b", "?", "7")]
    responses = [[Response("\\boxed{5 km}", 1, False)], [Response("\\boxed{7}", 1, False)]]
    correct = {}
    for name in ("default", "math_verify"):
        with Grader(workers=1, grader=name) as grader:
            grades = grader.grade(questions, responses)
        correct[name] = [one.correct for one in grades.graded]
        assert grades.grader == name and name not in grades.verdicts and len(grades.verdicts) == 2
        [entry] = grades.disagreements()
        assert entry["uid"] == "a" and entry["default"] is False and entry["math_verify"] is True
    assert correct == {"default": [(False,), (True,)], "math_verify": [(True,), (True,)]}
