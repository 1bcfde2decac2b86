"""Columns of JSON files with mixed types: converted where the meaning is clear, else a bad row."""

from __future__ import annotations

import json

import pytest

from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError

PARTS = [{"role": "user", "content": [{"type": "text", "text": "a?"}]}]
PLAIN = [{"role": "user", "content": "b?"}]
REPLY = [{"role": "assistant", "content": "7"}]


def write(path, *rows) -> str:
    path.write_text("".join(json.dumps({"prompt": "c?", "answer": "1"} | row) + "\n" for row in rows))
    return str(path)


def load(path: str, **options):
    return load_problems(path, prompt_key="prompt", **options)


@pytest.mark.parametrize("prompts", [[PARTS, PLAIN, "c?"], ["c?", PARTS], ["c?", PLAIN], [PLAIN, "c?"]])
def test_text_in_a_column_of_messages_is_a_user_message(tmp_path, prompts):
    questions = {id(PARTS): "a?", id(PLAIN): "b?"}
    found = load(write(tmp_path / "set.jsonl", *[{"prompt": prompt} for prompt in prompts]))
    assert [problem.question for problem in found] == [questions.get(id(prompt), "c?") for prompt in prompts]
    assert not found.matches_file


def test_answers_of_several_types_become_text(tmp_path):
    rows = [{"answer": answer} for answer in ("5", REPLY, 6, 2.5, 3.0)]
    found = load(write(tmp_path / "set.jsonl", *rows))
    assert [problem.answer for problem in found] == ["5", "7", "6", "2.5", "3"] and not found.matches_file
    found = load(write(tmp_path / "set.jsonl", {"answer": 6}, {"answer": REPLY}))
    assert [problem.answer for problem in found] == ["6", "7"]


def test_a_cell_without_a_clear_meaning_is_a_bad_row(tmp_path):
    rows = [{}, {"prompt": []}, {"prompt": PLAIN}]
    path = write(tmp_path / "set.jsonl", *rows)
    with pytest.raises(UserError, match=r"1 of 3 rows(.|\n)*row 1, prompt: has messages with the roles none"):
        load(path)
    assert len(load(path, bad_rows="drop")) == 2
    path = write(tmp_path / "set.jsonl", {}, {"prompt": []})
    with pytest.raises(UserError, match=r"1 of 2 rows(.|\n)*row 1, prompt: is empty or missing"):
        load(path)
    path = write(tmp_path / "set.jsonl", {"videos": "a.mp4"}, {"videos": {"file": "b.mp4"}}, {"videos": "c.mp4"})
    with pytest.raises(UserError, match=r"1 of 3 rows(.|\n)*row 1, videos: has dict .*expected one type"):
        load(path, videos=True)
    assert len(load(path, videos=True, bad_rows="drop")) == 2


def test_single_videos_become_lists(tmp_path):
    found = load(write(tmp_path / "set.jsonl", {"videos": "a.mp4"}, {"videos": ["b.mp4"]}, {}), videos=True)
    assert [problem.extra["videos"] for problem in found] == [["a.mp4"], ["b.mp4"], None]


def test_demonstrations_of_several_types_become_text(tmp_path):
    path = write(tmp_path / "set.jsonl", {"trace": "text"}, {"trace": REPLY}, {"trace": 5})
    assert [problem.extra["trace"] for problem in load(path, demonstration_key="trace")] == ["text", "7", None]


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("12345678901234567890.0", "12345678901234567890.0"),
        ("123456789.123456789012", "123456789.123456789012"),
        ("-0.1234567890123456789", "-0.1234567890123456789"),
        ("1.50", "1.50"),
        ("1e300", "1e300"),
        ("2.0", "2"),  # like whole numbers of a column with missing ones, which has floats
        ("1e5", "100000"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_an_answer_keeps_its_digits(tmp_path, literal, text, nested):
    path = tmp_path / "set.jsonl"
    answer = f'{{"x": {literal}}}' if nested else literal
    path.write_text(f'{{"problem": "?", "answer": {answer}, "weight": 0.5}}\n' * 2)
    found = load_problems(str(path), answer_key="answer.x" if nested else "answer")
    assert [(problem.answer, problem.extra["weight"]) for problem in found] == [(text, 0.5)] * 2
    assert not found.matches_file  # EasyR1 would read floats
