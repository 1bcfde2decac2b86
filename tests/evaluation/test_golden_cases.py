"""The graders on correct and incorrect answers, as people and models write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.generation.base import Response
from echorl_vl.evaluation.grading.grade import Grader, Grades

CASES = [json.loads(line) for line in Path(__file__).with_name("golden_cases.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def grades() -> Grades:
    questions = [
        Question(
            str(index),
            "?",
            case["truth"],
            case["kind"],
            tuple(case.get("choices", ())),
            error=case.get("error"),
            exact=case.get("exact", False),
        )
        for index, case in enumerate(CASES)
    ]
    with Grader(workers=1) as grader:
        return grader.grade(questions, [[Response(case["answer"], 1, False)] for case in CASES])


def errors(verdicts: list[bool], verdict: bool) -> list[dict]:
    """Return the cases that a grader judges as `verdict` by mistake."""
    return [case for case, each in zip(CASES, verdicts, strict=True) if each == verdict != case["correct"]]


def test_every_kind_has_enough_cases():
    assert len(CASES) >= 150
    for kind in ("free_form", "choice", "yes_no"):
        verdicts = [case["correct"] for case in CASES if case["kind"] == kind]
        assert sum(verdicts) >= 8 and len(verdicts) - sum(verdicts) >= 8
    for path in ("exact", "error"):  # numbers of MATH-500, OlympiadBench and MATH-Vision
        verdicts = [case["correct"] for case in CASES if path in case]
        assert sum(verdicts) >= 15 and len(verdicts) - sum(verdicts) >= 15
    keys = [json.dumps({key: case[key] for key in case if key != "correct"}, sort_keys=True) for case in CASES]
    assert len(set(keys)) == len(keys)


def test_accuracy_of_each_grader(grades, capsys):
    verdicts = {"default": [one.correct[0] for one in grades.graded]}
    verdicts |= {name: [row[0] for row in rows] for name, rows in grades.verdicts.items()}
    accuracy = {}
    for name, found in verdicts.items():
        positives, negatives = errors(found, True), errors(found, False)
        accuracy[name] = 1 - (len(positives) + len(negatives)) / len(CASES)
        with capsys.disabled():
            print(
                f"\n  {name}: accuracy {accuracy[name]:.3f} on {len(CASES)} golden cases, "
                f"{len(positives)} false positives, {len(negatives)} false negatives",
                end="",
            )
    assert accuracy["default"] > max(accuracy["mathruler"], accuracy["math_verify"])
    assert accuracy["default"] > 0.98
    assert grades.failures == {}


def test_the_default_grader_has_no_false_positives(grades):
    assert errors([one.correct[0] for one in grades.graded], True) == []


def test_disagreements_are_listed(grades):
    listed = grades.disagreements()
    assert {"uid", "answer", "truth", "default", "mathruler", "math_verify"} <= set(listed[0])
    assert all(len({entry[name] for name in ("default", "mathruler", "math_verify")}) == 2 for entry in listed)
    ours = [one.correct for one in grades.graded]
    rows = zip(ours, grades.verdicts["mathruler"], grades.verdicts["math_verify"], strict=True)
    assert len(listed) == sum(len(set(row)) > 1 for row in rows) > 0
