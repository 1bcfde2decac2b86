"""Metrics against naive references: enumeration of all samples, and written-out sums."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import combinations, product

import pytest

from echorl_vl.evaluation.benchmarks.base import GradedQuestion, Question
from echorl_vl.evaluation.metrics import answer_key, average_at_k, breakdown, ks, majority_at_k, pass_at_k, summary
from echorl_vl.evaluation.report import with_error

QUESTION = Question("q", "?", "1")


def graded(*rows: tuple[bool, ...], **fields) -> list[GradedQuestion]:
    return [
        GradedQuestion(
            Question(str(index), "?", "1", **fields), ("1",) * len(row), row, (False,) * len(row), (3,) * len(row)
        )
        for index, row in enumerate(rows)
    ]


def naive_pass(row: list[bool], k: int) -> Fraction:
    """Return the share of subsets of k responses that contain a correct response."""
    subsets = list(combinations(row, k))
    return Fraction(sum(any(subset) for subset in subsets), len(subsets))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_pass_at_k_is_the_share_of_all_subsets(n):
    for row in product([False, True], repeat=n):
        for k in range(1, n + 1):
            assert pass_at_k([row], k) == pytest.approx(float(naive_pass(list(row), k)))


def test_pass_at_k_is_a_mean_over_questions_and_avg_is_pass_at_1():
    draw = random.Random(1)
    rows = [[draw.random() < p for _ in range(6)] for p in (0.0, 0.2, 0.5, 0.9, 1.0)]
    for k in (1, 2, 4, 6):
        assert pass_at_k(rows, k) == pytest.approx(sum(float(naive_pass(row, k)) for row in rows) / len(rows))
    assert average_at_k(rows) == pytest.approx(pass_at_k(rows, 1))
    assert pass_at_k(rows, 6) == sum(any(row) for row in rows) / len(rows)


@pytest.mark.parametrize("k", [0, 4])
def test_pass_at_k_rejects_a_k_out_of_range(k):
    with pytest.raises(ValueError, match="k: expected 1 to the number of responses, got"):
        pass_at_k([[True, False, True]], k)


def naive_majority(answers: list[str | None], verdicts: list[bool]) -> Fraction:
    """Return the share of correct responses among those with a most frequent answer."""
    given = [answer for answer in answers if answer is not None]
    most = max((given.count(answer) for answer in given), default=0)
    top = [verdict for answer, verdict in zip(answers, verdicts, strict=True) if answer and given.count(answer) == most]
    return Fraction(sum(top), len(top)) if top else Fraction(0)


def test_majority_against_a_count():
    draw = random.Random(2)
    for _ in range(200):
        answers = [draw.choice(["3", "4", "a", None]) for _ in range(5)]
        verdicts = [answer == "3" for answer in answers]
        assert majority_at_k([answers], [verdicts]) == pytest.approx(float(naive_majority(answers, verdicts)))


def test_equal_numbers_are_one_answer_and_a_missing_answer_has_no_vote():
    answers = ["0.5", "\\frac{1}{2}", "3", "3", "1/2", None, None, None, None]
    assert majority_at_k([answers], [[True, True, False, False, True] + [False] * 4]) == 1.0
    assert majority_at_k([[None, None]], [[False, False]]) == 0.0
    assert answer_key("\\text{B}") == answer_key("b") != answer_key("C")
    assert answer_key("8.7e8") == answer_key("8.7\\times10^{8}") == answer_key("870000000")
    assert len({answer_key(tiny) for tiny in ("3\\times10^{-11}", "10^{-12}", "3\\cdot10^{-10}", "0")}) == 4
    assert answer_key("x = 5") == answer_key("5") == answer_key("5 cm") != answer_key("5.00001")
    assert answer_key("30^\\circ") == answer_key("30") and answer_key("(3,4)") == answer_key("(3, 4)")


def test_standard_error_is_clustered_by_question():
    rows = [(True, True, False, False), (True, True, True, True), (False, False, False, False)]
    means = [0.5, 1.0, 0.0]
    spread = math.sqrt(sum((value - 0.5) ** 2 for value in means) / 2 / 3)
    metrics = summary(graded(*rows))
    assert metrics["standard_error"] == pytest.approx(spread)
    # Treating every response as a separate question would underestimate it.
    assert metrics["standard_error"] > math.sqrt(0.5 * 0.5 / 12)
    assert metrics["avg@4"] == metrics["accuracy"] == 0.5 and metrics["pass@4"] == pytest.approx(2 / 3)
    assert {"pass@1", "pass@2", "pass@4", "majority@4"} <= set(metrics)
    assert math.isnan(summary(graded((True,)))["standard_error"])


def test_standard_error_is_clustered_by_the_names_of_clusters():
    draw = random.Random(6)
    names = [draw.choice(["a", "b", "c", "d", "", ""]) for _ in range(30)]
    rows = [tuple(draw.random() < 0.5 for _ in range(2)) for _ in names]
    marked = [graded(row, cluster=name)[0] for row, name in zip(rows, names, strict=True)]
    accuracies = [sum(row) / 2 for row in rows]
    mean = sum(accuracies) / 30
    groups = {name or index: [] for index, name in enumerate(names)}
    for index, name in enumerate(names):
        groups[name or index].append(accuracies[index])
    squares = sum(sum(value - mean for value in group) ** 2 for group in groups.values())
    expected = math.sqrt(len(groups) / (len(groups) - 1) * squares) / 30
    assert summary(marked)["standard_error"] == pytest.approx(expected)
    assert breakdown(marked, lambda one: "all")["all"]["standard_error"] == pytest.approx(expected)
    alone = math.sqrt(sum((value - mean) ** 2 for value in accuracies) / 29 / 30)
    assert summary(graded(*rows))["standard_error"] == pytest.approx(alone) != pytest.approx(expected, rel=0.01)


def test_five_versions_of_a_problem_count_as_one_problem():
    rows = [(True,), (False,), (True,), (True,)]
    fivefold = [one for index, row in enumerate(rows) for one in graded(*[row] * 5, cluster=f"problem {index}")]
    assert summary(fivefold)["standard_error"] == pytest.approx(summary(graded(*rows))["standard_error"])
    assert math.isnan(summary(fivefold[:5])["standard_error"])


@pytest.mark.parametrize("correct", [False, True])
def test_the_standard_error_is_not_zero_if_all_or_no_answers_are_correct(correct):
    """It is Wilson's 1 / (n + 1) for n clusters: with 0 of 6 correct the true accuracy may be 10 %."""
    six = graded(*[(correct, correct)] * 6, subject="Algebra")
    assert summary(six)["standard_error"] == pytest.approx(1 / 7)
    assert breakdown(six, lambda one: one.question.subject)["Algebra"]["standard_error"] == pytest.approx(1 / 7)
    twice = [one for index in range(3) for one in graded((correct,), (correct,), cluster=f"problem {index}")]
    assert summary(twice)["standard_error"] == pytest.approx(1 / 4)
    assert with_error(float(correct), summary(six)["standard_error"]).endswith("± 14.3 %")


def test_the_standard_error_is_not_zero_if_all_clusters_are_half_correct():
    halves = [one for index in range(5) for one in graded((True,), (False,), cluster=f"problem {index}")]
    assert summary(halves)["standard_error"] > 0.2


def test_one_response_per_question_gives_no_pass_at_k():
    assert not any("@" in name for name in summary(graded((True,), (False,))))


def test_rates_are_shares_of_responses():
    rows = [
        GradedQuestion(QUESTION, ("1", None), (True, False), (False, True), (10, 20)),
        GradedQuestion(QUESTION, (None, None), (False, False), (True, True), (20, 30)),
    ]
    metrics = summary(rows)
    assert (metrics["truncated"], metrics["no_answer"], metrics["response_tokens"]) == (0.75, 0.75, 20.0)


def test_breakdown_leaves_out_questions_without_a_group():
    rows = graded((True,), (False,), subject="Algebra") + graded((True,), subject="Geometry") + graded((True,))
    table = breakdown(rows, lambda one: one.question.subject)
    assert {name: (row["questions"], row["accuracy"]) for name, row in table.items()} == {
        "Algebra": (2, 0.5),
        "Geometry": (1, 1.0),
    }


def test_ks():
    assert ks(1) == [1] and ks(6) == [1, 2, 4, 6] and ks(32) == [1, 2, 4, 8, 16, 32]
