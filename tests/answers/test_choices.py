"""The letter that an answer names, and what is no answer."""

from __future__ import annotations

import pytest

from echorl_vl.answers.choices import choice_of, yes_or_no
from echorl_vl.answers.extract import final_answer

CHOICES = ("3 cm", "5 cm", "7 cm", "9 cm")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("Ｂ", "B"),
        (r"\text{(B)}", "B"),
        ("The answer: B.", "B"),
        ("B) 5 cm", "B"),
        ("B. 5", "B"),
        ("50 mm", "B"),
        ("B, because it is longer than A", "B"),
        ("A) or B)", None),
        ("A or B", None),
        ("A: no; B: yes", None),
        ("B. 3 cm", None),  # the letter and the text name two choices
        ("B, C", None),
        ("E", None),
        ("not A", None),
    ],
)
def test_an_answer_names_one_choice_or_none(answer, letter):
    assert choice_of(answer, CHOICES) == letter


@pytest.mark.parametrize(("answer", "word"), [("Yes.", "yes"), ("no", "no"), ("yes or no", None), ("No doubt", None)])
def test_yes_or_no(answer, word):
    assert yes_or_no(answer) == word


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"<think>\boxed{4}? No.</think> So \boxed{5}.", "5"),
        (r"<think>so \boxed{4}</think> The answer is 5.", "5"),
        (r"<think>so \boxed{4}</think>", None),
        (r"<think>so \boxed{4}", None),
        (r"so \boxed{4}</think> \boxed{5}", "5"),  # the template opened the reasoning
        ("所以答案：B", "B"),
        ("最终答案是 12。", "12"),
        ("First we add.\n\n**42**", "42"),
        ("First we add.\n**Step 2** is easy", None),
        ("We find 5.", None),
    ],
)
def test_the_answer_that_a_response_states(response, answer):
    assert final_answer(response) == answer


def test_a_truncated_response_needs_a_box():
    assert final_answer("The answer is 5", truncated=True) is None
    assert final_answer(r"\boxed{5} and", truncated=True) == "5"
