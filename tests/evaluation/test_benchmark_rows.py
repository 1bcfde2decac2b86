"""An invalid row is an error that names file, row and column."""

from __future__ import annotations

import pytest
from made_up_benchmarks import (
    MATHVISION,
    hallusion_row,
    mathverse_row,
    mathvision,
    of_size,
    wemath_row,
    write_jsonl,
    write_parquet,
)

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.sources import load


@pytest.mark.parametrize(
    ("name", "row", "column"),
    [
        ("mathverse", mathverse_row(1, "Vision Only", "free-form", "", "1"), "problem_index"),
        ("wemath", wemath_row("1", "2steps_1"), "ID"),
        ("hallusionbench", hallusion_row("0", "0", "1"), "set_id"),
    ],
)
def test_a_row_without_its_set_is_named(tmp_path, name, row, column):
    file = write_parquet(tmp_path / "x.parquet", [row, {**row, column: None}])
    with pytest.raises(UserError, match=rf"x\.parquet, row 1, {column}: expected the set that .* got nothing"):
        load(of_size(name, 2), file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "images/7.png"}, r"testmini\.jsonl, row 1, .*: image file .*images/7\.png does not exist"),
        ({"image": None}, r"testmini\.jsonl, row 1, .*: the image is missing"),
        ({"answer": " "}, r"testmini\.jsonl, row 1, answer: expected an answer, got "),
        ({"answer": None}, r"testmini\.jsonl, row 1, answer: expected an answer, got "),
        ({"question": ""}, r"testmini\.jsonl, row 1, question: expected text, got nothing"),
        ({"options": ["1", "2"], "answer": "C"}, r"row 1, answer: expected the letter of one of 2 choices, got 'C'"),
        ({"id": "4"}, r"row 1: a second question with the id '4'"),
    ],
)
def test_an_invalid_row_is_named(tmp_path, change, message):
    file = mathvision(tmp_path, MATHVISION, {**MATHVISION, "id": "5", **change})
    with pytest.raises(UserError, match=message):
        load(of_size("mathvision", 2), file)


AYA = "Every morning Aya goes for a $9$-kilometer walk."


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (
            "amc23",
            [{"problem": "Q?", "answer": 27.0}, {"problem": "R?", "answer": ""}],
            "row 1, answer: expected an answer, got nothing",
        ),
        ("gsm8k", [{"question": "Q?", "answer": "It is 5."}], "row 0, answer: expected a last line '#### ANSWER'"),
        (
            "minerva",
            [{"problem": "Q?", "solution": "It is 5."}],
            r"row 0, solution: expected an answer in \\boxed{...}, got none",
        ),
        (
            "aime24",
            [{"problem": AYA, "answer": None, "solution": "\\boxed{5}"}],
            "row 0, answer or solution: expected an answer, got nothing",
        ),
        ("aime25", [{"problem": AYA, "answer": "5"}], "not AIME 2025, I and II: no question contains the words"),
    ],
)
def test_a_missing_answer_or_the_file_of_another_year_is_named(tmp_path, name, rows, message):
    write_jsonl(tmp_path / f"{name}.jsonl", rows)
    with pytest.raises(UserError, match=message):
        load(of_size(name, len(rows)), tmp_path / f"{name}.jsonl")


@pytest.mark.parametrize("index", [None, "x", 1.5, True])
def test_an_index_that_is_not_an_integer_is_named(tmp_path, index):
    row = {"question_id": 1, "question": "?", "options": ["a", "b"], "answer": "B", "category": "law"}
    file = write_jsonl(tmp_path / "mmlu_pro.jsonl", [{**row, "answer_index": index}])
    with pytest.raises(UserError, match=r"mmlu_pro\.jsonl, row 0, answer_index: expected a whole number, got"):
        load(of_size("mmlu_pro", 1), file)
