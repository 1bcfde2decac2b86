"""The loaders on the real files, if they are next to the checkout."""

from __future__ import annotations

import pytest

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import benchmarks, get
from echorl_vl.evaluation.benchmarks.sources import load

SIZES = {
    "geometry3k": 553,
    "mathvision": 304,
    "aime24": 30,
    "aime25": 30,
    "amc23": 40,
    "amc83": 83,
    "math500": 500,
    "minerva": 272,
    "olympiadbench": 675,
    "gsm8k": 1319,
    "arc_challenge": 1172,
    "mmlu_pro": 12032,
}


@pytest.mark.parametrize("name", SIZES)
def test_every_question_loads_and_the_number_is_the_benchmarks(shared_data, name):
    questions = load(get(name), shared_data)
    assert len(questions) == questions.total == questions.edition.size == SIZES[name]
    assert questions.most_images == (1 if benchmarks()[name].images else 0)
    assert (questions[0].subject is None) == (
        name in {"geometry3k", "aime24", "aime25", "amc23", "amc83", "gsm8k", "arc_challenge"}
    )


def test_mathvision_subjects_and_levels(shared_data):
    questions = list(load(get("mathvision"), shared_data))
    assert len({question.subject for question in questions}) == 16
    assert {question.level for question in questions} == set("12345")
    assert sum(question.kind == "choice" for question in questions) == 190
    assert all("<image1>" not in question.text for question in questions)


def test_a_missing_image_is_named(shared_data):
    with pytest.raises(UserError, match=r"mathvision/test\.jsonl, row 0, .*image file .*images/1\.jpg does not exist"):
        load(get("mathvision_test"), shared_data)


def test_correct_choices_are_uniform_over_the_letters(shared_data):
    answers = [question.answer for question in load(get("arc_challenge"), shared_data)]
    for letter in "ABCD":
        assert 0.2 < answers.count(letter) / len(answers) < 0.3


def test_answers_in_special_formats(shared_data):
    assert load(get("aime24"), shared_data)[7].answer == "25"  # "025" in the file
    assert load(get("amc23"), shared_data)[15].answer == "-1"  # -1.0
    assert load(get("gsm8k"), shared_data)[0].answer == "18"  # after ####
    assert load(get("minerva"), shared_data)[0].answer == "1.6"  # boxed, with the unit outside
    assert sum(question.error is not None for question in load(get("olympiadbench"), shared_data)) == 1
