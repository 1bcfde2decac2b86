"""Extracting the answer of a response, for each kind of question."""

from __future__ import annotations

import pytest

from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.grading.extract import choice_of, extract, yes_or_no

FREE = Question("1", "?", "5")
CHOICE = Question("2", "?", "B", "choice", ("3 cm", "5 cm", "7 cm"))
YES_NO = Question("3", "?", "yes", "yes_no")


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("so \\boxed{4}, no: \\boxed{5}", "5"),
        ("\\boxed{\\frac{1}{2}} is the answer: 7", "\\frac{1}{2}"),
        ("<think>9</think><answer> 5 </answer>", "5"),
        ("The final answer is: $5$.", "$5$"),
        ("**Final Answer:** 5\n", "5"),
        ("The answer is 3. No, the answer is 5.", "5"),
        ("We find 5.", None),
        ("an open \\boxed{5", None),
        ("\\boxed{}", None),
        ("", None),
    ],
)
def test_free_form(response, answer):
    assert extract(response, FREE) == answer


def test_a_truncated_response_needs_a_box():
    assert extract("The answer is 5", FREE, truncated=True) is None
    assert extract("B", CHOICE, truncated=True) is None
    assert extract("Yes, since", YES_NO, truncated=True) is None
    assert extract("\\boxed{5} because", FREE, truncated=True) == "5"


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *(("B", "B"), ("(b)", "B"), ("\\text{B}", "B"), ("Option B", "B"), ("B. 5 cm", "B"), ("5 cm", "B"), ("5", "B")),
        *(("D", None), ("A or B", None), ("5 m", None), ("6", None), ("", None), ("3, 5", None)),
    ],
)
def test_the_letter_of_an_answer(answer, letter):
    assert choice_of(answer, CHOICE.choices) == letter


def test_a_single_letter_is_a_label_before_it_is_a_text():
    assert choice_of("B", ("F", "D", "B")) == "B"
    assert choice_of("B because 10 cm is larger", ("F", "D", "B")) == "B"
    assert choice_of("(C), since it is longer", ("F", "D", "B")) == "C"
    assert choice_of("Therefore, option B.", ("F", "D", "B")) == "B"
    assert choice_of("A bird has wings", ("F", "D", "B")) is None
    assert choice_of("F", ("F", "D", "B")) == "A"


def test_a_text_shared_by_two_choices_is_no_answer():
    assert choice_of("\\frac{1}{2}", ("0.5", "0.50", "3")) is None
    assert choice_of("0.50", ("0.5", "0.50", "3")) == "B"
    assert choice_of("5 cm", ("5 cm", "5 cm", "6 cm")) is None


NO_ANSWERS = [(text, None) for text in ("not yes", "There is no difference", "no doubt", "No difference", "yesterday")]


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("Yes, it is", "yes"),
        ("**No**", "no"),
        ("Yes.", "yes"),
        ("\\text{No}", "no"),
        ("yes and no", None),
        ("5", None),
        *NO_ANSWERS,
    ],
)
def test_yes_or_no(answer, word):
    assert yes_or_no(answer) == word


def test_a_yes_or_no_at_the_beginning_of_the_response():
    assert extract("No, it is smaller.", YES_NO) == "no"
    assert extract("Nothing says so.", YES_NO) is None
    assert extract("Yes, at first sight. But the answer is no.", YES_NO) == "no"


def test_long_responses_are_read_in_linear_time():
    for text in ("the answer is " * 40_000, "\\boxed{" * 100_000, "<answer>" * 100_000, "a" * 1_000_000):
        extract(text, FREE)
        extract(text, CHOICE)
