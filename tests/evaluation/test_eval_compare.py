"""`echorl compare` on made-up results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import records_sha256
from echorl_vl.evaluation.compare import compare, main
from echorl_vl.evaluation.paired import mean_difference

SETTINGS = {"model_sha256": "m", "temperature": 0.6, "edition": "whole", "samples": 2}


def write(
    folder: Path,
    name: str,
    correct: list[list[bool]],
    partial: str | None = None,
    clusters: Sequence[str] = (),
    asked: str | None = None,
    **settings,
) -> Path:
    """Write the folder of a benchmark as `eval.run` does."""
    place = folder / name
    place.mkdir(parents=True)
    grading = {"tolerance": settings.pop("tolerance", 0.01)}
    rows = [
        {"uid": str(index), "truth": "5", "answers": ["5" if each else None for each in row], "correct": row}
        for index, row in enumerate(correct)
    ]
    questions = [{"uid": str(index), "text": f"{asked or name} [{index}]?"} for index in range(len(correct))]
    questions = [
        {**question, "cluster": cluster} if cluster else question
        for question, cluster in zip(questions, clusters or [""] * len(correct), strict=True)
    ]
    digest = records_sha256(questions)
    settings = SETTINGS | {"questions_sha256": digest} | settings
    result = {"benchmark": name, "settings": settings, "grading": grading, "partial": partial}
    (place / "result.json").write_text(json.dumps(result))
    for file, entries in (("grades.jsonl", rows), ("questions.jsonl", questions)):
        (place / file).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def test_wins_and_losses(tmp_path):
    a = write(tmp_path / "a", "aime24", [[True, True], [False, True], [False, False], [True, True]])
    b = write(tmp_path / "b", "aime24", [[True, True], [True, True], [True, True], [False, True]], temperature=1.0)
    [one], only = compare(a, b)
    assert only == []
    assert (one.a, one.b, one.questions) == (0.625, 0.875, 4)
    assert [entry["uid"] for entry in one.wins] == ["2", "1"] and [entry["uid"] for entry in one.losses] == ["3"]
    assert one.wins[0]["difference"] == 1.0 and one.wins[0]["answers_a"] == [None, None]
    assert one.protocol == ["temperature: 0.6 | 1.0"]


def test_clusters_are_used_and_their_number_is_shown(tmp_path, capsys):
    names = [f"problem {index // 5}" for index in range(20)]
    a = write(tmp_path / "a", "mathverse", [[False]] * 20, clusters=names)
    b = write(tmp_path / "b", "mathverse", [[index < 15] for index in range(20)], clusters=names)
    [one], _ = compare(a, b)
    assert (one.questions, one.clusters, len(one.wins)) == (20, 4, 15)
    assert one.difference.sign_flip_p == 2 / 2**3 and one.difference.verdict == "no difference shown"
    assert main([str(a), str(b)]) == 0
    assert "mathverse: 20 questions in 4 clusters" in capsys.readouterr().out
    plain = write(tmp_path / "c", "mathverse", [[True]] * 20)
    assert main([str(plain), str(plain)]) == 0 and "clusters" not in capsys.readouterr().out


def test_questions_in_two_benchmarks_count_once_in_the_mean(tmp_path, capsys):
    better = [[False]] * 4, [[True]] * 4
    for folder, rows in zip("ab", better, strict=True):
        write(tmp_path / folder, "amc23", rows, asked="AMC,")
        write(tmp_path / folder, "amc83", [*rows, [True], [True]], asked="(AMC):")
        write(tmp_path / folder, "aime24", [[True]] * 4, partial="the first 4 of 30" if folder == "b" else None)
    file = tmp_path / "comparison.json"
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--json", str(file)]) == 0
    shown, report = capsys.readouterr().out, json.loads(file.read_text())
    assert "amc23: not in the mean, all of its questions are also in amc83" in shown and "mean (PARTIAL)" in shown
    assert report["benchmarks"]["amc23"]["part_of"] == "amc83" and report["benchmarks"]["amc83"]["part_of"] is None
    assert report["mean"]["benchmarks"] == ["aime24", "amc83"]
    assert report["mean"]["difference"] == pytest.approx((0 + 4 / 6) / 2)

    for folder in "ab":
        (tmp_path / folder / "aime24" / "result.json").unlink()
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--json", str(file)]) == 0
    assert "the mean is one test" not in capsys.readouterr().out and json.loads(file.read_text())["mean"] is None


def test_questions_with_the_same_image_form_a_cluster(tmp_path):
    a, b = (write(tmp_path / side, "geometry3k", [[correct]] * 6) for side, correct in (("a", False), ("b", True)))
    for folder in (a, b):
        place = folder / "geometry3k"
        records = [json.loads(line) for line in (place / "questions.jsonl").read_text().splitlines()]
        for index, record in enumerate(records):
            record["images"] = [f"image {index // 2}"]
        (place / "questions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        result = json.loads((place / "result.json").read_text())
        result["settings"]["questions_sha256"] = records_sha256(records)
        (place / "result.json").write_text(json.dumps(result))
    [one], _ = compare(a, b)
    assert (one.questions, one.clusters) == (6, 3) and one.difference.sign_flip_p == 2 / 2**3


def test_the_command(tmp_path, capsys):
    rows = [[index % 3 == 0] for index in range(60)]
    a = write(tmp_path / "a", "gsm8k", rows)
    write(tmp_path / "a", "math500", rows)
    b = write(tmp_path / "b", "gsm8k", [[True]] * 60, partial="the first 60 of 1319 questions")
    write(tmp_path / "b", "math500", rows)
    file = tmp_path / "out" / "comparison.json"
    assert main([str(a), str(b), "--json", str(file), "--show", "2"]) == 0
    shown = capsys.readouterr().out
    assert "B is better" in shown and "no difference shown" in shown and "mean" in shown
    assert "gsm8k 1: B correct (+1.00)" in shown and "and 38 more" in shown and "[1]" in shown
    assert "of 2 benchmarks 2 x 5 % = 0.1 may differ by chance; the mean is one test" in shown
    report = json.loads(file.read_text())
    found = report["benchmarks"]["gsm8k"]
    low, high = found["interval_95"]
    assert found["difference"] == pytest.approx(40 / 60) and low < 40 / 60 < high
    assert len(found["changed"]) == found["wins"] == 40 and found["losses"] == 0
    assert "of 2 benchmarks" in report["notes"][0]


def test_the_json_file_has_what_is_shown(tmp_path, capsys):
    """For two common benchmarks with another on each side, and for a single one."""
    correct = [[True]] * 8
    a, b = (write(tmp_path / side, "gsm8k", rows) for side, rows in (("a", [[False]] * 8), ("b", correct)))
    write(tmp_path / "a", "math500", correct)
    write(tmp_path / "b", "math500", [[True]] * 6 + [[False]] * 2)
    write(tmp_path / "a", "minerva", correct)
    write(tmp_path / "b", "aime24", correct)
    file = tmp_path / "comparison.json"
    assert main([str(a), str(b), "--json", str(file)]) == 0
    shown, report = capsys.readouterr().out, json.loads(file.read_text())
    comparisons, only = compare(a, b)
    mean = mean_difference([one.difference for one in comparisons])
    assert report["mean"]["interval_95"] == [mean.low, mean.high] and report["mean"]["sign_flip_p"] == mean.sign_flip_p
    assert report["mean"]["difference"] == pytest.approx((1 - 2 / 8) / 2)
    assert report["mean"]["verdict"] == mean.verdict
    assert report["not_compared"] == only and len(only) == 2 and all(line in shown for line in only)
    assert all(line in shown for line in report["notes"]) and set(report["benchmarks"]) == {"gsm8k", "math500"}
    assert main([str(a / "gsm8k"), str(b / "gsm8k"), "--json", str(file)]) == 0
    shown, report = capsys.readouterr().out, json.loads(file.read_text())
    assert report["mean"] is None and report["notes"] == [] and "by chance" not in shown


def test_a_partial_result_on_either_side_is_marked(tmp_path, capsys):
    whole = write(tmp_path / "whole", "gsm8k", [[True]])
    part = write(tmp_path / "part", "gsm8k", [[True]], partial="the first 1 of 1319 questions")
    for a, b, marked in ((whole, part, True), (part, whole, True), (part, part, True), (whole, whole, False)):
        assert main([str(a), str(b)]) == 0 and ("PARTIAL" in capsys.readouterr().out) is marked


def test_missing_benchmarks_and_other_grading_are_reported(tmp_path, capsys):
    a = write(tmp_path / "a", "gsm8k", [[True]])
    write(tmp_path / "a", "math500", [[True]])
    b = write(tmp_path / "b", "gsm8k", [[True]], tolerance=0.5)
    write(tmp_path / "b", "aime24", [[True]])
    assert main([str(a), str(b)]) == 0
    shown = capsys.readouterr().out
    assert f"math500: only in {a}, not compared" in shown and f"aime24: only in {b}, not compared" in shown
    assert "gsm8k: differs between A and B: grading, tolerance: 0.01 | 0.5" in shown


def test_the_folder_of_one_benchmark(tmp_path):
    a, b = (write(tmp_path / side, "gsm8k", [[True]]) for side in "ab")
    assert compare(a / "gsm8k", b / "gsm8k")[0][0].name == "gsm8k"


def test_folders_that_can_not_be_compared(tmp_path, capsys):
    a = write(tmp_path / "a", "gsm8k", [[True]])
    with pytest.raises(UserError, match=r"no benchmark in common: .*gsm8k.*math500"):
        compare(a, write(tmp_path / "b", "math500", [[True]]))
    with pytest.raises(UserError, match="have different questions"):
        compare(a, write(tmp_path / "c", "gsm8k", [[True]], asked="Another one"))
    (tmp_path / "empty").mkdir()
    assert main([str(a), str(tmp_path / "empty")]) == 2
    assert "no result.json in it" in capsys.readouterr().err
    assert main([str(a), str(tmp_path / "nowhere")]) == 2


def change(file: Path, key: str, value: object) -> None:
    """Set a key such as "settings.edition" in a JSON file, or in its first line; None removes the key."""
    first, *rest = [json.loads(line) for line in file.read_text().splitlines()]
    *outer, last = key.split(".")
    inner = first
    for name in outer:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    file.write_text("".join(json.dumps(entry) + "\n" for entry in (first, *rest)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", r"a/gsm8k/result\.json, benchmark: expected text, got nothing"),
        ("[]", r"a/gsm8k/result\.json: expected an object with benchmark, .*settings\.edition.*, got \[\]"),
        ("3", r"a/gsm8k/result\.json: expected an object with benchmark, .*, got 3"),
        ('{"benchmark": "gsm8k", "settings": []}', r"result\.json, settings: expected an object, got \[\]"),
        ("{", r"a/gsm8k/result\.json: can't be read"),
    ],
)
def test_an_invalid_result_is_named(content, message, tmp_path, capsys):
    a, b = (write(tmp_path / side, "gsm8k", [[True]]) for side in "ab")
    (a / "gsm8k" / "result.json").write_text(content)
    with pytest.raises(UserError, match=message):
        compare(a, b)
    assert main([str(b), str(a)]) == 2 and "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("result.json", "settings.questions_sha256", None, "settings.questions_sha256: expected text, got nothing"),
        ("result.json", "settings.edition", 3, "settings.edition: expected text, got 3"),
        ("result.json", "grading", None, "grading: expected an object, got nothing"),
        ("result.json", "partial", False, "partial: expected text or null, got false"),
        ("grades.jsonl", "correct", None, "line 1, correct: expected a list, got nothing"),
        ("grades.jsonl", "correct", [], "expected a verdict for each question"),
        ("grades.jsonl", "uid", "7", "expected a verdict for each question"),
        ("questions.jsonl", "uid", None, "line 1, uid: expected text, got nothing"),
        ("questions.jsonl", "text", "Edited?", "the file was changed after sampling"),
        ("questions.jsonl", "cluster", "one", "the file was changed after sampling"),
    ],
)
def test_a_damaged_result_is_named(file, key, value, message, tmp_path):
    a, b = (write(tmp_path / side, "gsm8k", [[True], [False]]) for side in "ab")
    change(b / "gsm8k" / file, key, value)
    with pytest.raises(UserError) as error:
        compare(a, b)
    assert str(error.value).startswith(str(b / "gsm8k" / file)) and message in str(error.value)
