"""Answers that people and models write, right and wrong: what each grader makes of them."""

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


def wrong(verdicts: list[bool], said_right: bool) -> list[dict]:
    """The cases that a grader gets wrong by saying `said_right`."""
    return [
        case
        for case, verdict in zip(CASES, verdicts, strict=True)
        if verdict == said_right and verdict != case["right"]
    ]


def test_there_are_enough_of_every_kind():
    assert len(CASES) >= 150
    for kind in ("free_form", "choice", "yes_no"):
        verdicts = [case["right"] for case in CASES if case["kind"] == kind]
        assert sum(verdicts) >= 8 and len(verdicts) - sum(verdicts) >= 8
    for path in ("exact", "error"):  # numbers of MATH-500, OlympiadBench and MATH-Vision
        verdicts = [case["right"] for case in CASES if path in case]
        assert sum(verdicts) >= 15 and len(verdicts) - sum(verdicts) >= 15
    keys = [json.dumps({key: case[key] for key in case if key != "right"}, sort_keys=True) for case in CASES]
    assert len(set(keys)) == len(keys)


def test_accuracy_of_each_grader(grades, capsys):
    verdicts = {"default": [one.correct[0] for one in grades.graded]}
    verdicts |= {name: [row[0] for row in rows] for name, rows in grades.verdicts.items()}
    accuracy = {}
    for name, found in verdicts.items():
        positives, negatives = wrong(found, True), wrong(found, False)
        accuracy[name] = 1 - (len(positives) + len(negatives)) / len(CASES)
        with capsys.disabled():
            print(
                f"\n  {name}: {accuracy[name]:.3f} of {len(CASES)} golden cases, "
                f"{len(positives)} wrong answers taken, {len(negatives)} right ones refused",
                end="",
            )
    assert accuracy["default"] > max(accuracy["mathruler"], accuracy["math_verify"])
    assert accuracy["default"] > 0.98
    assert grades.failures == {}


def test_the_default_grader_takes_no_wrong_answer(grades):
    assert wrong([one.correct[0] for one in grades.graded], True) == []


def test_the_graders_disagree_on_some_and_the_list_names_them(grades):
    listed = grades.disagreements()
    assert {"uid", "answer", "truth", "default", "mathruler", "math_verify"} <= set(listed[0])
    assert all(entry["mathruler"] != entry["math_verify"] for entry in listed)
    rows = zip(grades.verdicts["mathruler"], grades.verdicts["math_verify"], strict=True)
    assert len(listed) == sum(left != right for left, right in rows) > 0
