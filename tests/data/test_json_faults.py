"""Invalid or unusual JSON rows give an error with file, row and key, or have one unambiguous reading."""

from __future__ import annotations

import gzip
import json

import pytest

from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError

GOOD = '{"problem": "?", "answer": "1"}'
DEEP = "[" * 900 + "]" * 900
DEEPER = "[" * 200_000 + "]" * 200_000

BAD = {
    "lone surrogate in the question": ('{"problem": "a \\ud800", "answer": "1"}', "problem", "lone surrogate"),
    "lone surrogate in a message": (
        '{"problem": [{"role": "user", "content": "\\udfff"}], "answer": "1"}',
        "problem",
        "lone surrogate",
    ),
    "lone surrogate in the answer": ('{"problem": "a", "answer": "\\udc00"}', "answer", "lone surrogate"),
    "NaN": ('{"problem": "a", "answer": NaN}', "answer", "text or a number, got float nan"),
    "infinity": ('{"problem": "a", "answer": -Infinity}', "answer", "text or a number, got float -inf"),
    "deep": ('{"problem": "a", "answer": "1", "x": ' + DEEP + "}", "x", "nested too deeply; expected at most 60"),
    "deeper": ('{"problem": "a", "answer": "1", "x": ' + DEEPER + "}", "x", "nested too deeply"),
    "a key twice": ('{"problem": "a", "answer": "1", "answer": "2"}', "answer", "duplicate key"),
    "a key twice inside": ('{"problem": "a", "answer": "1", "x": [{"k": 1, "k": 1}]}', "x", "a duplicate key 'k'"),
    "half a line": ('{"problem": "a", "ans', "line 2", "not JSON"),
    "no object": ("[1, 2]", "", "expected an object"),
    "text for an object": ('"problem"', "", "expected an object"),
    "an answer of objects": ('{"problem": "a", "answer": {"x": 1}}', "answer", "got dict"),
    "images that are numbers": ('{"problem": "<image>", "answer": "1", "images": [3]}', "images", "expected paths"),
    "images that are objects": (
        '{"problem": "<image>", "answer": "1", "images": [{"bytes": "aGk="}]}',
        "images",
        "expected paths",
    ),
}


def refused(spec, *words, **options) -> str:
    with pytest.raises(UserError) as error:
        load_problems(str(spec), **options)
    assert all(str(word) in str(error.value) for word in words), str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_or_left_out(tmp_path, name):
    line, key, words = BAD[name]
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join([GOOD, line, GOOD]))
    place = f"{path}, row 1, {key}" if key else f"{path}, row 1:"
    refused(path, "1 of 3 rows", place, words)
    notes = []
    problems = load_problems(str(path), bad_rows="drop", note=notes.append)
    assert [problem.uid for problem in problems] == [f"{path}:0", f"{path}:2"]
    assert len(notes) == 1 and "skipped 1 of 3 rows" in notes[0] and place in notes[0]
    path.write_text(line)
    assert "1 of 1 rows" in refused(path, words, bad_rows="drop")  # no row is left


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("half a line", "deeper")])
def test_a_bad_row_of_a_list_is_named(tmp_path, name):
    line, key, words = BAD[name]
    path = tmp_path / "set.json"
    path.write_text(f"[{GOOD}, {line}]")
    refused(path, f"{path}, row 1", key, words)


def test_a_list_nested_too_deeply_or_not_utf8_is_an_error(tmp_path):
    path = tmp_path / "set.json"
    path.write_text(f"[{DEEPER}]")
    refused(path, path, "nested too deeply")
    path.write_bytes(b'[{"problem": "a",\n"answer": "\xe9"}]')
    refused(path, f"{path}, line 2", "not UTF-8")


def test_a_row_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(f"{GOOD}\n".encode() + b'{"problem": "caf\xe9", "answer": "1"}\n')
    refused(path, f"{path}, row 1, line 2", "not UTF-8")
    assert len(load_problems(str(path), bad_rows="drop")) == 1
    table = tmp_path / "set.csv"
    table.write_bytes(b"problem,answer\na,1\ncaf\xe9,2\n")
    refused(table, f"{table}, line 3", "not UTF-8")


def test_numbers_too_large_for_a_column_become_text(tmp_path):
    huge = "9" * 23
    path = tmp_path / "set.jsonl"
    rows = [f'{{"problem": "a", "answer": {text}, "x": {text}}}' for text in (huge, f"-{huge}", "9" * 5000, "1e999")]
    path.write_text("\n".join(rows))
    assert [problem.answer for problem in load_problems(str(path))] == [huge, f"-{huge}", "9" * 5000, "1e999"]
    path.write_text(GOOD.replace('"1"', "123456789012345678"))
    assert load_problems(str(path))[0].answer == "123456789012345678"


def test_byte_order_marks_and_surrogate_pairs_are_valid(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("?", "\\ud83d\\ude00").encode() + b"\r\n")
    assert load_problems(str(path))[0].question == "\U0001f600"
    path.write_bytes(b"\xef\xbb\xbf")
    refused(path, path, "no problems")
    # unused columns may have any value
    path.write_text('{"problem": "a", "answer": "1", "x": "\\ud800"}')
    assert load_problems(str(path))[0].extra == {"x": '"\\ud800"'}


def test_a_csv_with_a_duplicate_column_is_an_error(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text("problem,answer,answer\na,1,2\n")
    refused(path, f"{path}, line 1", "duplicate column 'answer'")


def test_an_invalid_csv_row_is_named_or_left_out(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text('problem,answer\n"a\nb",1\nx, y?,2\nc,3\n"d"e,4\n"f\n')
    message = refused(path, "3 of 5 rows", f"{path}, row 1, line 4: has 3 fields, expected 2")
    assert f"{path}, row 3, line 6: invalid csv: " in message and f"{path}, row 4, line 7: invalid csv: " in message
    found = load_problems(str(path), bad_rows="drop")
    assert [(problem.question, problem.answer) for problem in found] == [("a\nb", "1"), ("c", "3")]
    path.write_text("problem,answer,images\na,1\nb\n")  # fields missing at the end are null
    assert "1 of 2 rows" in refused(path, f"{path}, row 1, answer: is empty or missing")


@pytest.mark.parametrize(("separator", "name"), [(";", "';'"), ("\t", "a tab"), ("|", "'|'")])
def test_a_csv_with_other_separators_is_an_error(tmp_path, separator, name):
    path = tmp_path / "set.csv"
    path.write_text(f"problem{separator}answer\na, b?{separator}1\n")
    assert "data.prompt_key" not in refused(path, f"{path}, line 1", f"separated by {name}; expected commas")


def test_infinite_answers_are_bad_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"problem": ["a", "b", "c"], "answer": [1.0, float("inf"), float("nan")]}), path)
    refused(path, "2 of 3 rows", f"{path}, row 1, answer: is infinite", "row 2, answer: is empty")


def test_a_damaged_gzip_file_is_an_error(tmp_path):
    path = tmp_path / "set.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"problem": "a", "answer": "1"}).encode())[:-12])
    refused(path, path, "can't be read as jsonl")


def test_the_cases_of_past_failures(shared_data):
    faults = shared_data.parent / "cases" / "faults"
    if not faults.is_dir():
        pytest.skip("the inputs of past failures (../shared/cases) are missing")
    assert load_problems(str(faults / "j_bigint2.jsonl"))[0].answer == "9" * 23
    refused(faults / "j_surr.jsonl", "row 0, problem", "lone surrogate")
    refused(faults / "j_deep.jsonl", "row 0", "x", "nested too deeply")
