"""Finding the file of a benchmark, its number of questions, and partial files."""

from __future__ import annotations

import pytest
from made_up_benchmarks import (
    MATHVISION,
    image_cell,
    mathvision,
    of_size,
    png,
    write_jsonl,
    write_parquet,
)

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import get
from echorl_vl.evaluation.benchmarks.sources import load


def test_the_number_of_questions_has_to_be_the_benchmarks(tmp_path):
    file = mathvision(tmp_path, MATHVISION)
    with pytest.raises(UserError, match=r"testmini\.jsonl: expected 304 \(MathLLMs.*\) questions of mathvision, got 1"):
        load(get("mathvision"), file)


def test_a_partial_file_needs_a_limit(tmp_path):
    file = mathvision(tmp_path, *({**MATHVISION, "id": str(index)} for index in range(5)))
    with pytest.raises(UserError, match=r"expected 304 .* got 5; to evaluate a part of the file, .* give --limit N"):
        load(get("mathvision"), file)
    for limit in (2, 5, 400):
        questions = load(get("mathvision"), file, limit=limit)
        assert (len(questions), questions.total) == (min(limit, 5), 304)
    with pytest.raises(UserError, match=r"expected 4 \([^;]*, got 5$"):  # a part can't be larger
        load(of_size("mathvision", 4), file, limit=2)


def test_the_columns_decide_the_edition_of_a_partial_file(tmp_path):
    row = {"images": [image_cell()], "problem": "<image>Find x.", "answer": "5"}
    plain = load(get("geometry3k"), write_parquet(tmp_path / "a" / "test.parquet", [row] * 560), limit=3)
    assert (len(plain), plain.total) == (3, 601)
    annotated = [{**row, "id": index, "literals": ["x"], "theorems": ["y"]} for index in range(4)]
    found = load(get("geometry3k"), write_parquet(tmp_path / "b" / "test.parquet", annotated), limit=9)
    assert (len(found), found.total) == (4, 553)


def test_a_limit_does_not_change_the_total(tmp_path):
    file = mathvision(tmp_path, *({**MATHVISION, "id": str(index)} for index in range(5)))
    questions = load(of_size("mathvision", 5), file, limit=2)
    assert (len(questions), questions.total) == (2, 5)


def test_the_columns_decide_the_edition(tmp_path):
    row = {"images": [image_cell()], "problem": "<image>Find x.", "answer": "5"}
    benchmark = get("geometry3k")
    whole, part = (edition.size for edition in benchmark.editions)
    assert (whole, part) == (601, 553)
    plain = write_parquet(tmp_path / "a" / "test.parquet", [row] * part)
    with pytest.raises(UserError, match=rf"expected {whole} \(.*, got {part}"):
        load(benchmark, plain)
    annotated = [{**row, "id": index, "literals": ["x"], "theorems": ["y"]} for index in range(part)]
    found = load(benchmark, write_parquet(tmp_path / "b" / "test.parquet", annotated))
    assert found.edition.size == part and "FormalGeo" in found.edition.name
    with pytest.raises(UserError, match=rf"expected {part} \(.*, got {part - 1}"):
        load(benchmark, write_parquet(tmp_path / "c" / "test.parquet", annotated[1:]))


def test_a_file_with_other_columns_is_refused(tmp_path):
    file = write_jsonl(tmp_path / "testmini.jsonl", [{"prompt": "Q?", "answer": "1"}])
    with pytest.raises(UserError, match=r"not a file of mathvision: expected a column id, got prompt, answer"):
        load(get("mathvision"), file)


def test_a_folder_with_no_file_or_two_files_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no file of aime24 in this folder; searched for .*--data aime24=FILE"):
        load(get("aime24"), tmp_path)
    row = {"id": 1, "problem": "Every morning Aya goes for a walk.", "answer": "033", "solution": "..."}
    for part in ("a", "b"):
        write_jsonl(tmp_path / part / "aime24.jsonl", [row])
    with pytest.raises(UserError, match=r"several files match aime24: a/aime24\.jsonl, b/aime24\.jsonl"):
        load(get("aime24"), tmp_path)
    assert load(of_size("aime24", 1), tmp_path / "a")[0].answer == "33"
    with pytest.raises(UserError, match=r"nowhere: no such file or folder"):
        load(get("aime24"), tmp_path / "nowhere")


def test_shards_are_read_as_one_file(tmp_path):
    row = {"images": [image_cell()], "problem": "<image>Find x.", "answer": "5"}
    for index in range(2):
        write_parquet(tmp_path / "geometry3k" / f"test-{index:05}-of-00002.parquet", [row] * 3)
    questions = load(of_size("geometry3k", 6), tmp_path)
    assert len(questions) == 6 and "2 shards" in questions.source


def test_without_the_hub_the_error_asks_for_a_file(monkeypatch):
    def no_hub(*arguments, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", no_hub)
    with pytest.raises(UserError, match=r"aime25: can't load math-ai/aime25@test .*no route.*--data"):
        load(get("aime25"), None)


def test_the_digest_depends_on_answers_and_images(tmp_path):
    first = load(of_size("mathvision", 1), mathvision(tmp_path, MATHVISION)).sha256
    assert load(of_size("mathvision", 1), mathvision(tmp_path, MATHVISION)).sha256 == first
    other = load(of_size("mathvision", 1), mathvision(tmp_path, {**MATHVISION, "answer": "7"})).sha256
    (tmp_path / "images" / "4.png").write_bytes(png("blue"))
    repainted = load(of_size("mathvision", 1), tmp_path / "testmini.jsonl").sha256
    assert len({first, other, repainted}) == 3
