"""Sets of pairs that were written apart from the checker: how many it gets wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pairs import Pair, read_pairs

from echorl_vl.answers.grading import decide, grade
from echorl_vl.answers.parse import parse

HERE = Path(__file__).parent
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "answers.tsv"


def errors(pairs: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Return the false positives and the false negatives."""
    graded = [(pair, grade(pair.answer, pair.truth)) for pair in pairs]
    missed = [pair for pair, correct in graded if correct != pair.correct]
    return [pair for pair in missed if not pair.correct], [pair for pair in missed if pair.correct]


@pytest.mark.parametrize(
    ("path", "size", "false_positives", "false_negatives"),
    [
        (HERE / "benchmark_pairs.tsv", 520, 0, 5),
        (HERE / "kind_pairs.tsv", 676, 1, 33),
        (HERE / "review_pairs.tsv", 657, 6, 6),
        (HERE / "twin_pairs.tsv", 1336, 1, 6),
        (CASES, 581, 0, 0),
    ],
    ids=["benchmarks", "kinds", "review", "twins", "cases"],
)
def test_answers_that_were_written_apart_from_the_checker(path, size, false_positives, false_negatives):
    if not path.is_file():
        pytest.skip(f"{path.name} is missing")
    pairs = read_pairs(path)
    assert len(pairs) == size
    positives, negatives = errors(pairs)
    assert len(positives) <= false_positives, positives
    assert len(negatives) <= false_negatives, negatives


def test_every_answer_is_equal_to_itself_and_has_a_kind():
    for pair in read_pairs(HERE / "kind_pairs.tsv"):
        for text in (pair.answer, pair.truth):
            assert grade(text, text) and decide(text, text)
            assert str(parse(text)).startswith("the ")
