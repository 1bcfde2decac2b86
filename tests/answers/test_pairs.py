"""Sets of pairs that were written apart from the checker: how many it gets wrong."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from echorl_vl.answers.grading import decide, grade
from echorl_vl.answers.parse import parse

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "benchmarks" / "answers.py"
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "answers.tsv"


@pytest.fixture(scope="module")
def benchmark():
    """The benchmark that grades files of pairs."""
    spec = importlib.util.spec_from_file_location("benchmark_answers", SCRIPT)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)  # its dataclass looks the module up
    spec.loader.exec_module(module)
    return module


def errors(pairs):
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
def test_answers_that_were_written_apart_from_the_checker(benchmark, path, size, false_positives, false_negatives):
    if not path.is_file():
        pytest.skip(f"{path.name} is missing")
    pairs = benchmark.read_pairs(path)
    assert len(pairs) == size
    positives, negatives = errors(pairs)
    assert len(positives) <= false_positives, positives
    assert len(negatives) <= false_negatives, negatives


def test_every_answer_is_equal_to_itself_and_has_a_kind(benchmark):
    for pair in benchmark.read_pairs(HERE / "kind_pairs.tsv"):
        for text in (pair.answer, pair.truth):
            assert grade(text, text) and decide(text, text)
            assert str(parse(text)).startswith("the ")
