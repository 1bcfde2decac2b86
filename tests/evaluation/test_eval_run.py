"""`echorl eval` on the shipped policies: results, resuming after a kill, grading again, errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_benchmarks import (
    IMAGE_MODEL,
    TEXT_MODEL,
    command,
    environment,
    image_cell,
    of_size,
    write_jsonl,
    write_parquet,
)

from echorl_vl.data.sources import load_problems
from echorl_vl.data.templates import load_format_prompt
from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import benchmarks
from echorl_vl.evaluation.compare import main as compare_main
from echorl_vl.evaluation.folder import BenchmarkFolder
from echorl_vl.evaluation.run import main
from echorl_vl.models.loading import load_inputs
from echorl_vl.models.qwen2_5_vl import target_size
from echorl_vl.outputs import atomic

FILES = ("settings.json", "questions.jsonl", "responses.jsonl", "grades.jsonl", "disagreements.jsonl", "result.json")


@pytest.fixture(scope="module")
def gsm8k(tmp_path_factory) -> Path:
    """A file of as many questions as GSM8K, which the shipped text policy can answer."""
    problems = load_problems("generated/arithmetic@test")
    rows = [
        {
            "question": problems[index % 300].question,
            "answer": f"...\n#### {problems[index % 300].answer}",
            "idx": index,
        }
        for index in range(1319)
    ]
    return write_jsonl(tmp_path_factory.mktemp("data") / "gsm8k.jsonl", rows)


def arguments(gsm8k: Path, out: Path, *more: object) -> list[object]:
    return [
        *("--model", TEXT_MODEL, "--bench", "gsm8k", "--data", f"gsm8k={gsm8k}", "--out", out, "--limit", 24),
        *("--temperature", 1, "--samples", 2, "--max-tokens", 48, "--template", "none", "--batch-size", 8),
        *("--workers", 1, "--engine", "transformers", "--device", "cpu", *more),
    ]


@pytest.fixture(scope="module")
def finished(gsm8k, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    assert main([str(argument) for argument in arguments(gsm8k, out)]) == 0
    return out


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_result_files(finished):
    folder = finished / "gsm8k"
    assert all((folder / name).is_file() for name in FILES)
    result = json.loads((folder / "result.json").read_text())
    assert (result["questions"], result["size"]) == (24, 1319) and "24 of 1319" in result["partial"]
    assert 0.1 < result["metrics"]["accuracy"] < 1 and result["metrics"]["standard_error"] > 0
    assert {"avg@2", "pass@1", "pass@2", "majority@2", "truncated", "no_answer"} <= set(result["metrics"])
    settings = result["settings"]
    for key in (
        "temperature",
        "max_tokens",
        "seed",
        "template",
        "min_pixels",
        "model_sha256",
        "torch_version",
        "engine",
    ):
        assert key in settings
    grades = lines(folder / "grades.jsonl")
    accuracy = sum(sum(row["correct"]) / 2 for row in grades) / len(grades)
    assert result["metrics"]["accuracy"] == pytest.approx(accuracy)
    assert "PARTIAL" in (finished / "results.md").read_text()
    assert json.loads((finished / "results.json").read_text())["gsm8k"] == result


def test_a_partial_file_is_marked(gsm8k, tmp_path, capsys):
    part = tmp_path / "part.jsonl"
    part.write_text("".join(gsm8k.read_text().splitlines(keepends=True)[:3]))
    given = arguments(part, tmp_path / "out", "--samples", 1)
    assert main([str(argument) for argument in given]) == 0
    result = json.loads((tmp_path / "out" / "gsm8k" / "result.json").read_text())
    assert (result["questions"], result["size"]) == (3, 1319) and "3 of 1319" in result["partial"]
    shown = capsys.readouterr()
    assert "PARTIAL: 3 of N = 1319" in shown.err and "gsm8k (PARTIAL)" in shown.out
    where = given.index("--limit")
    assert main([str(argument) for argument in given[:where] + given[where + 2 :]]) == 2
    assert "to evaluate a part of the file, marked PARTIAL, give --limit N" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_same_results(finished, gsm8k, tmp_path):
    out = tmp_path / "killed"
    process = subprocess.Popen(
        command(*arguments(gsm8k, out)), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    responses = out / "gsm8k" / "responses.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (responses.exists() and responses.read_bytes().count(b"\n") >= 4):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    written = responses.read_bytes().count(b"\n")
    assert 4 <= written < 24 and not (out / "gsm8k" / "result.json").exists()
    assert main([str(argument) for argument in arguments(gsm8k, out)]) == 0
    for name in ("responses.jsonl", "grades.jsonl", "questions.jsonl"):
        assert (out / "gsm8k" / name).read_bytes() == (finished / "gsm8k" / name).read_bytes()
    result, expected = (json.loads((place / "gsm8k" / "result.json").read_text()) for place in (out, finished))
    assert result["metrics"] == expected["metrics"] and result["settings"] == expected["settings"]


def test_grade_only_needs_neither_model_nor_data(finished, capsys):
    before = (finished / "gsm8k" / "result.json").read_bytes()
    (finished / "gsm8k" / "grades.jsonl").unlink()
    assert main(["--grade-only", "--out", str(finished), "--workers", "1"]) == 0
    assert (finished / "gsm8k" / "result.json").read_bytes() == before
    assert (finished / "gsm8k" / "grades.jsonl").is_file() and "gsm8k (PARTIAL)" in capsys.readouterr().out


def test_another_grader_has_another_hash(finished, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    monkeypatch.setattr("echorl_vl.evaluation.settings.GRADER", ("echorl_vl.evaluation.grading.graders",))
    assert main(["--grade-only", "--out", str(out), "--workers", "1"]) == 0
    grading = [json.loads((place / "gsm8k" / "result.json").read_text())["grading"] for place in (finished, out)]
    one, other = (entry["grader_sha256"] for entry in grading)
    assert one != other and f"grader_sha256: {other}" in (out / "results.md").read_text()
    assert compare_main([str(finished), str(out)]) == 0
    assert f"gsm8k: differs between A and B: grading, grader_sha256: {one} | {other}" in capsys.readouterr().out


def test_other_settings_in_the_same_folder_are_refused(finished, gsm8k, capsys):
    assert main([str(a) for a in arguments(gsm8k, finished, "--temperature", 0.7, "--seed", 1)]) == 2
    error = capsys.readouterr().err
    assert "temperature: 1.0 there, 0.7 now" in error and "seed: 0 there, 1 now" in error


def test_a_model_with_changed_files_is_refused(finished, gsm8k, tmp_path, capsys):
    shutil.copytree(TEXT_MODEL, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert main([str(a) for a in arguments(gsm8k, finished, "--model", tmp_path / "model")]) == 2
    assert "model_sha256" in capsys.readouterr().err


def test_grade_only_needs_all_responses(finished, tmp_path, capsys):
    out = tmp_path / "part"
    shutil.copytree(finished, out)
    responses = out / "gsm8k" / "responses.jsonl"
    responses.write_text("".join(responses.read_text().splitlines(keepends=True)[:-3]))
    assert main(["--grade-only", "--out", str(out)]) == 2
    assert "3 of 24 questions don't have 2 response(s) yet" in capsys.readouterr().err


def test_lost_settings_are_an_error(finished, gsm8k, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / "gsm8k" / "settings.json").unlink()
    assert main([str(a) for a in arguments(gsm8k, out, "--temperature", 0.7)]) == 2
    error = capsys.readouterr().err
    assert f"{out / 'gsm8k' / 'responses.jsonl'}: there are responses but no settings.json" in error
    assert "restore it" in error and not (out / "gsm8k" / "settings.json").exists()
    (out / "gsm8k" / "settings.json").write_text('{"settings": {"samples": "2"}}')
    assert main(["--grade-only", "--out", str(out)]) == 2
    assert 'settings.json, settings.samples: expected a whole number, got "2"' in capsys.readouterr().err


def test_edited_questions_are_not_graded_and_are_written_again(finished, gsm8k, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    questions = out / "gsm8k" / "questions.jsonl"
    whole = questions.read_bytes()
    edited = lines(questions)
    edited[5]["answer"] = "7" + edited[5]["answer"]
    questions.write_text("".join(json.dumps(line) + "\n" for line in edited))
    assert main(["--grade-only", "--out", str(out)]) == 2
    assert f"{questions}: the file was changed after sampling" in capsys.readouterr().err
    assert main([str(a) for a in arguments(gsm8k, out)]) == 0 and questions.read_bytes() == whole
    questions.unlink()
    assert main([str(a) for a in arguments(gsm8k, out)]) == 0 and questions.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "result.json, benchmark: expected text, got nothing"),
        ("[1]", "result.json: expected an object with benchmark"),
        ('{"benchmark": "x", "questions": 3, "size": 3, "partial": null}', "result.json, metrics: expected an object"),
    ],
)
def test_an_invalid_result_in_the_folder_is_named(content, message, finished, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / "other").mkdir()
    (out / "other" / "result.json").write_text(content)
    assert main(["--grade-only", "--out", str(out), "--bench", "gsm8k"]) == 2
    assert f"{out / 'other'}/{message}" in capsys.readouterr().err


def test_images_end_to_end(tmp_path, monkeypatch, capsys):
    rows = [
        {"images": [image_cell(color)], "problem": "<image>Find x.", "answer": "5"}
        for color in ("red", "blue", "green")
    ]
    file = write_parquet(tmp_path / "test.parquet", rows)
    monkeypatch.setitem(benchmarks(), "geometry3k", of_size("geometry3k", 3))
    status = main(
        [
            *("--model", str(IMAGE_MODEL), "--bench", "geometry3k", "--data", f"geometry3k={file}"),
            *("--out", str(tmp_path / "out"), "--max-tokens", "24", "--max-pixels", "12544", "--min-pixels", "3136"),
            *("--engine", "transformers", "--device", "cpu", "--workers", "1"),
        ]
    )
    assert status == 0
    result = json.loads((tmp_path / "out" / "geometry3k" / "result.json").read_text())
    assert (result["questions"], result["partial"]) == (3, None)
    assert (result["settings"]["max_pixels"], result["settings"]["dtype"]) == (12544, "float32")
    assert "boxed" in result["settings"]["template"]
    assert "N = 3 " in capsys.readouterr().err


def test_a_text_model_rejects_images(tmp_path, monkeypatch, capsys):
    rows = [{"images": [image_cell()], "problem": "<image>Find x.", "answer": "5"}]
    file = write_parquet(tmp_path / "test.parquet", rows)
    monkeypatch.setitem(benchmarks(), "geometry3k", of_size("geometry3k", 1))
    given = ["--model", str(TEXT_MODEL), "--bench", "geometry3k", "--data", f"geometry3k={file}", "--max-tokens", "8"]
    assert main([*given, "--engine", "transformers", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "row 0, image: " in error and "the model reads only text" in error


NAMED = ["--out", "OUT", "--bench", "gsm8k", "--model", "M"]
GIVEN = [*NAMED, "--data", "DATA"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (NAMED[2:], "--out: expected an output folder, got nothing"),
        ([*NAMED[:2], "--model", "M"], "--bench: expected one or more of geometry3k"),
        ([*NAMED, "--bench", "gsm8"], "--bench gsm8: no such benchmark; did you mean gsm8k?"),
        (NAMED[:4], "--model: expected a model folder or a hub id, got nothing"),
        ([*NAMED, "--data", "no/such"], "--data no/such: no such file or folder"),
        ([*NAMED, "--limit", "0"], "--limit 0: expected at least 1"),
        (["--out", "OUT", "--grade-only"], "--grade-only: nothing was generated in OUT yet"),
        ([*GIVEN, "--model", "no/folder/x"], "--model no/folder/x: expected a folder or a hub id"),
        ([*GIVEN, "--model", "OUT2"], "--model OUT2: expected a folder or a hub id"),
        ([*GIVEN, "--samples", "4"], "--samples 4 at --temperature 0 would be the same response 4 times"),
        ([*GIVEN, "--template", "x.jinja"], "--template x.jinja: expected boxed, none or the path"),
        ([*GIVEN, "--top-p", "0"], "--top-p 0.0: expected"),
        ([*GIVEN, "--max-tokens", "9999"], "got 9999"),
        ([*GIVEN, "--bench", "aime24"], "no file of aime24 in this folder"),
        ([*GIVEN, "--limit", "2", "--device", "cpu", "--max-tokens", "8", "--engine", "vllm"], "vLLM is not installed"),
    ],
)
def test_invalid_options_are_named(given, message, gsm8k, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"DATA": str(gsm8k.parent), "M": str(TEXT_MODEL)}
    assert main(["--engine", "transformers", *(names.get(argument, argument) for argument in given)]) == 2
    error = capsys.readouterr().err
    assert "error: " in error and message in error


@pytest.mark.parametrize(
    "path", ["my_model_path_3b", "model_path_3b", "x/model_path/y", "x/model_path", "a.model_path", "model_path.old"]
)
def test_a_path_that_contains_the_name_of_a_key_is_shown_unchanged(path, gsm8k, tmp_path, capsys):
    given = ["--bench", "gsm8k", "--data", str(gsm8k.parent), "--out", str(tmp_path / "out")]
    assert main([*given, "--model", f"/no/{path}"]) == 2
    assert f"--model /no/{path}: expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fails", "shown"),
    [
        (lambda path: atomic.write_text(path / "file/x", ""), "Choose a writable folder with --out"),
        (lambda path: load_format_prompt(path / "x.jinja"), "x.jinja (--template): can't be read"),
        (lambda path: load_problems("p", image_dir=path / "no"), "no: no such folder (--data)"),
        (
            lambda _: load_inputs(SimpleNamespace(model_path="/no/it")),
            "got '/no/it'",
        ),
        (lambda _: target_size(3000, 20, 28, 1, 20000), "resized to --max-pixels = 20000"),
    ],
)
def test_keys_of_training_are_shown_as_options(fails, shown, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr("echorl_vl.evaluation.run.run", lambda *_: fails(tmp_path))
    assert main([*NAMED[2:], "--out", str(tmp_path)]) == 2
    assert shown in capsys.readouterr().err
    with pytest.raises(UserError) as caught:
        fails(tmp_path)
    assert "--" not in str(caught.value)


def test_the_error_names_a_model_in_a_subfolder(gsm8k, tmp_path, capsys):
    shutil.copytree(TEXT_MODEL, tmp_path / "global_step_9" / "actor" / "huggingface")
    given = ["--bench", "gsm8k", "--data", str(gsm8k.parent), "--out", str(tmp_path / "out")]
    assert main([*given, "--model", str(tmp_path / "global_step_9")]) == 2
    assert "there is a model in" in capsys.readouterr().err


def test_a_run_that_failed_on_an_option_does_not_block_the_next(gsm8k, tmp_path, capsys):
    given = arguments(gsm8k, tmp_path, "--limit", 2, "--samples", 1)
    assert main([str(argument) for argument in [*given, "--max-tokens", 9999]]) == 2
    assert main([str(argument) for argument in [*given, "--max-tokens", 4]]) == 0
    capsys.readouterr()
    assert main([str(argument) for argument in [*given, "--max-tokens", 5]]) == 2
    assert "max_tokens: 4 there, 5 now" in capsys.readouterr().err


def test_a_folder_has_one_writer(finished, gsm8k, capsys):
    lock = BenchmarkFolder(finished, "gsm8k").lock()
    try:
        assert main([str(argument) for argument in arguments(gsm8k, finished)]) == 2
    finally:
        lock.release()
    assert "another process (pid" in capsys.readouterr().err


def test_the_list_names_every_benchmark(capsys):
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in benchmarks()) and "12032" in shown
