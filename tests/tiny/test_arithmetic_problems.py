"""The arithmetic generator: correct and incorrect approaches with valid arithmetic, and splits that do not overlap."""

from __future__ import annotations

import random
import re
from fractions import Fraction

import pytest

from echorl_vl.answers.grading import grade
from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError
from echorl_vl.generators.arithmetic.generate import SPLITS, draw_split, load_split
from echorl_vl.generators.arithmetic.kinds import KINDS, OOD_KINDS, TRAIN_KINDS, draw_problem
from echorl_vl.generators.arithmetic.problem import LARGE_SIZE, SIZE, calculate
from echorl_vl.generators.splits import TEST, TRAIN, VALIDATION, belongs_to
from echorl_vl.rewards.geometry import is_worked_solution

FACTORS = {"weeks": 7, "feet": 12, "yards": 3, "gallons": 4}


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def evaluate(question: str) -> Fraction:
    """The value of the formula in a question, by Python's rules of precedence."""
    formula = re.search(r"(?:Compute|What is) ([\d+*() -]+)[.?]", question)[1]
    return Fraction(eval(formula))


def in_small_units(question: str) -> int:
    a, large, b = re.search(r"(\d+) (\w+) and (\d+)", question).groups()
    return int(a) * FACTORS[large] + int(b)


EXPECTED = {
    "bags": lambda q: numbers(q)[0] + numbers(q)[1] * numbers(q)[2] - numbers(q)[3],
    "brackets": evaluate,
    "precedence": evaluate,
    "remainder": lambda q: numbers(q)[0] - numbers(q)[1] * numbers(q)[2],
    "discount": lambda q: numbers(q)[0] * Fraction(100 - numbers(q)[1], 100) + numbers(q)[2],
    "average": lambda q: Fraction(sum(numbers(q)), 3),
    "sequence": lambda q: 2 * numbers(q)[2] - numbers(q)[1],
    "units": in_small_units,
    "share": lambda q: Fraction(numbers(q)[1] + numbers(q)[2], numbers(q)[0]),
    "change": lambda q: numbers(q)[2] - numbers(q)[0] * numbers(q)[1],
    "rate": lambda q: Fraction(numbers(q)[0] * numbers(q)[2], numbers(q)[1]),
    "ages": lambda q: 2 * numbers(q)[0] + numbers(q)[1],
    "unknown": lambda q: Fraction(numbers(q)[2] - numbers(q)[1], numbers(q)[0]),
    "fence": lambda q: 2 * sum(numbers(q)),
}
"""The answer to a question, computed from its text."""


def generated(kind: str, count: int = 150):
    rng = random.Random(kind)
    return [draw_problem(kind, rng) for _ in range(count)]


def test_some_kinds_are_not_in_the_training_split() -> None:
    assert len(TRAIN_KINDS) >= 6 and len(OOD_KINDS) >= 3
    assert not TRAIN_KINDS.keys() & OOD_KINDS.keys()
    assert EXPECTED.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_first_approach_has_the_correct_answer(kind: str) -> None:
    for problem in generated(kind):
        assert int(problem.answer) == EXPECTED[kind](problem.question), problem
        assert len(problem.approaches) >= 2
        for number, approach in enumerate(problem.approaches):
            assert (approach.answer == problem.answer) == (number == 0)
            assert grade(problem.solution(number), problem.answer) == (number == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_all_lines_of_all_approaches_are_valid(kind: str) -> None:
    for problem in generated(kind):
        for number, approach in enumerate(problem.approaches):
            text = problem.solution(number)
            first, *steps, last = text.split("\n")
            assert not re.search(r"=", first) and steps and last == f"So the answer is \\boxed{{{approach.answer}}}."
            for step in steps:
                left, right = step.split(" = ")
                assert eval(left.replace("/", "//")) == int(right) >= 1, text
                assert "/" not in left or eval(left) == int(right), text
            assert numbers(steps[-1])[-1] == int(approach.answer)
            assert is_worked_solution(text)


@pytest.mark.parametrize("kind", KINDS)
def test_questions_and_all_approaches_respect_the_size_limits(kind: str) -> None:
    sizes = set()
    for problem in generated(kind, 300):
        texts = [problem.question, *(problem.solution(number) for number in range(len(problem.approaches)))]
        largest = max(number for text in texts for number in numbers(text))
        assert largest <= (LARGE_SIZE if problem.large else SIZE)
        assert not problem.large or max(numbers(problem.question) + numbers(problem.solution())) > SIZE
        sizes.add(problem.large)
    assert sizes == {False, True}


def test_the_approaches_of_a_problem_have_different_ideas() -> None:
    for kind in KINDS:
        for problem in generated(kind, 50):
            ideas = [approach.idea for approach in problem.approaches]
            assert len(set(ideas)) == len(ideas)


def test_calculate_returns_none_for_an_invalid_calculation() -> None:
    assert calculate("", (7, "/", 2)) is None and calculate("", (3, "-", 3)) is None
    assert calculate("", (7, "-", 3), ("last", "*", 5), (30, "-", "last"), ("last", "+", "first")).answer == "14"


def test_arithmetic_splits_share_no_problem() -> None:
    problems = {name: list(zip(range(150), draw_split(split), strict=False)) for name, split in SPLITS.items()}
    signatures = {name: {problem.signature for _, problem in rows} for name, rows in problems.items()}
    for name, split in SPLITS.items():
        kinds = {problem.kind for _, problem in problems[name]}
        assert kinds <= set(split.kinds) and len(kinds) >= 3
        assert all(problem.large == split.large for _, problem in problems[name])
        assert all(not signatures[name] & other for key, other in signatures.items() if key != name)
    problem = draw_problem("bags", random.Random(0))
    assert sum(belongs_to(problem, buckets) for buckets in (TRAIN, VALIDATION, TEST)) == 1


def test_problems_that_differ_in_names_have_the_same_signature() -> None:
    """Otherwise a problem could be in training and in test with different names."""
    by_signature: dict[str, set[str]] = {}
    for problem in generated("change", 3000):
        by_signature.setdefault(problem.signature, set()).add(problem.question)
    assert max(map(len, by_signature.values())) > 1


@pytest.mark.parametrize("name", SPLITS)
def test_arithmetic_rows_are_well_formed(name: str) -> None:
    rows = load_split(name)
    assert len(rows) == SPLITS[name].size
    assert rows.column_names == ["problem", "answer", "solution", "kind", "large"]
    assert len(set(rows["problem"])) == len(rows)
    assert all(grade(row["solution"], row["answer"]) for row in rows.select(range(40)))


def test_the_same_seed_generates_the_same_problems() -> None:
    assert load_split("test", 20).to_list() == load_split("test", 20).to_list()
    assert load_split("test", 20, seed=9)["problem"] != load_split("test", 20)["problem"]


def test_the_problems_can_be_loaded_by_name() -> None:
    problems = load_problems("generated/arithmetic@validation")
    assert len(problems) == SPLITS["validation"].size and not problems[0].images
    with pytest.raises(UserError, match=r"arithmetic@tset: split: expected one of train, validation, .*, got 'tset'"):
        load_problems("generated/arithmetic@tset")
