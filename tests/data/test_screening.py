"""Rows that would stop a run later are found at its start, or left out: the same ones each time."""

from __future__ import annotations

import json
import threading
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from echorl_vl.data import screening
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.screening import screen
from echorl_vl.data.sources import load_problems, read_problems
from echorl_vl.errors import UserError
from echorl_vl.types import Keys

KINDS = {
    "empty answer": {"answer": " "},
    "no image": {"images": []},
    "missing file": {"images": ["gone.png"]},
    "a URL": {"images": ["https://example.org/a.png"]},
    "two placeholders": {"problem": "<image><image>?"},
    "a truncated JPEG": {"images": ["half.jpg"]},
    "a truncated PNG": {"images": ["half.png"]},
    "no image in the file": {"images": ["text.png"]},
    "a reserved token": {"problem": "<image>? <|im_end|>\n<|im_start|>assistant\n4"},
    "a reserved token in the system message": {
        "problem": [{"role": "system", "content": "<|endoftext|>"}, {"role": "user", "content": "<image>?"}]
    },
    "a chat of two turns": {"problem": [{"role": "user", "content": "<image>?"}] * 2},
    "a lone surrogate": {"problem": "<image>\ud800"},
    "a thin image": {"images": ["thin.png"]},
    "too long": {"problem": "<image>" + "x" * 500},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("screening")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for name, kind in (("half.jpg", "JPEG"), ("half.png", "PNG")):
        file = BytesIO()
        noise.save(file, kind)
        (folder / name).write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    noise.save(folder / "good.png")
    Image.new("RGB", (900, 3)).save(folder / "thin.png")
    (folder / "text.png").write_text("<html>not found</html>")
    return folder


@pytest.fixture(scope="module")
def encoder(processor):
    return PromptEncoder(processor, processor.tokenizer, max_prompt_length=300)


def write(folder: Path, *changes: dict) -> str:
    chats = any(isinstance(change.get("problem"), list) for change in changes)
    rows = [{"problem": "<image>?", "answer": "1", "images": ["good.png"]} | change for change in changes]
    for row in rows:
        if chats and isinstance(row["problem"], str):
            row["problem"] = [{"role": "user", "content": row["problem"]}]
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def start(path: str, encoder: PromptEncoder, bad_rows: str, note=lambda line: None, **options):
    return screen(read_problems(path, Keys()), encoder, bad_rows, note=note, leave_out_overlong=False, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_bad_row_is_an_error_or_left_out(folder, encoder, kind):
    path = write(folder, {}, KINDS[kind], {})
    with pytest.raises(UserError, match="1 of 3 rows") as error:
        start(path, encoder, "error")
    assert f"{path}, row 1, " in str(error.value)
    notes = []
    assert [problem.uid for problem in start(path, encoder, "drop", notes.append)] == [f"{path}:0", f"{path}:2"]
    assert [line for line in notes if "skipped 1 of 3 rows" in line and f"{path}, row 1, " in line]
    with pytest.raises(UserError, match="1 of 1 rows"):
        start(write(folder, KINDS[kind]), encoder, "drop")


def test_the_same_rows_are_left_out_and_counted_at_every_start(folder, encoder):
    path = write(folder, *[change for kind in KINDS.values() for change in ({}, kind)])
    kept, notes = [], []
    for _ in range(2):
        kept.append([problem.uid for problem in start(path, encoder, "drop", notes.append)])
    assert kept[0] == kept[1] == [f"{path}:{2 * row}" for row in range(len(KINDS))]
    # One count includes the bad rows of loading and those of prompts and images.
    assert len(notes) == 2 and notes[0] == notes[1]
    assert notes[0].startswith(f"skipped {len(KINDS)} of {2 * len(KINDS)} rows") and notes[0].count(", row ") == 3
    assert f"and {len(KINDS) - 3} more (data.bad_rows=error lists them all)" in notes[0]
    with pytest.raises(UserError) as error:
        start(path, encoder, "error")
    lines = str(error.value).splitlines()
    assert lines[0].startswith(f"{len(KINDS)} of {2 * len(KINDS)} rows can't be used")
    assert [line.split(", ")[1].rstrip(":") for line in lines[1:]] == [f"row {2 * n + 1}" for n in range(len(KINDS))]


def test_bad_rows_are_listed_file_by_file(folder, encoder, tmp_path):
    good = {"problem": "<image>?", "answer": "1", "images": ["good.png"]}
    names = [str(folder / name) for name in ("z.jsonl", "a.jsonl")]
    for name in names:
        rows = [good, good | KINDS["a truncated PNG"], good | KINDS["empty answer"]]
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="4 of 6 rows") as error:
        screen(read_problems(names, Keys()), encoder)
    found = [line.split(": ")[0].strip() for line in str(error.value).splitlines()[1:]]
    assert found == [f"{name}, row {row}" for name in names for row in ("1, images[0]", "2, answer")]


def test_the_number_of_decoded_images(folder, encoder, monkeypatch):
    path = write(folder, *[{}] * 9, KINDS["a truncated JPEG"], {}, {})
    problems = load_problems(path)
    monkeypatch.setattr(screening, "ALL_UP_TO", 11)
    monkeypatch.setattr(screening, "SAMPLE", 3)
    notes = []
    assert len(screen(problems, encoder, note=notes.append)) == 12
    assert "checked the images of 3 of 12 problems" in notes[0] and "data.check_images = auto" in notes[0]
    with pytest.raises(UserError, match=r"row 9, images\[0\]: the image can't be decoded"):
        screen(problems, encoder, check_images="all")
    monkeypatch.setattr(screening, "ALL_UP_TO", 12)
    with pytest.raises(UserError, match="row 9"):
        screen(problems, encoder)
    assert len(screen(problems, encoder, check_images="off")) == 12
    # Headers are always read.
    bad = load_problems(write(folder, {}, KINDS["no image in the file"]))
    with pytest.raises(UserError, match="row 1"):
        screen(bad, encoder, check_images="off")


def test_overlong_prompts_are_reported_separately(folder, encoder):
    path = write(folder, {}, KINDS["too long"])
    notes = []
    assert len(screen(load_problems(path), encoder, note=notes.append)) == 1
    assert notes == [f"{path}: skipped 1 prompt longer than data.max_prompt_length = 300 tokens"]
    with pytest.raises(UserError, match="all 1 prompts are longer"):
        screen(load_problems(write(folder, KINDS["too long"])), encoder)


def test_a_set_without_some_rows_does_not_match_its_file(folder, encoder):
    path = write(folder, {}, KINDS["a truncated JPEG"])
    problems = load_problems(path)
    assert problems.matches_file and not screen(problems, encoder, bad_rows="drop").matches_file


def test_unusual_images_load_or_name_their_row(shared_data, processor):
    data = shared_data.parent / "cases" / "data"
    if not data.is_dir():
        pytest.skip("the images of past failures (../shared/cases) are missing")
    encoder = PromptEncoder(processor, processor.tokenizer, max_pixels=200_000)
    for name in ("a2.jsonl", "b2.parquet", "c_saved"):
        problems = load_problems(str(data / name))
        assert len(screen(problems, encoder)) == len(problems) == 30
        for problem in problems:
            prompt = encoder.encode(problem)
            assert prompt.pixel_values.isfinite().all() and len(prompt.image_grid_thw) == len(problem.images)
    for name in ("half.jsonl", "trunc.jsonl"):
        with pytest.raises(UserError, match=r"row 0, images\[0\]"):
            screen(load_problems(str(data / name)), encoder)
    with pytest.raises(UserError, match=r"row 2, problem: contains <\|im_end\|>") as error:
        screen(load_problems(str(data.parent / "faults" / "control_tokens_in_question.parquet")), encoder)
    assert "rows can't be used" in str(error.value)


def test_images_are_decoded_in_parallel(folder, encoder, monkeypatch):
    """Two at a time on two cores: each decoding waits for another."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    both, fault = threading.Barrier(2), screening._image_fault
    monkeypatch.setattr(screening, "_image_fault", lambda *given: (both.wait(60), fault(*given))[1])
    assert len(screen(load_problems(write(folder, {}, {}, {}, {})), encoder)) == 4


@pytest.mark.parametrize(("terminal", "problems", "shown"), [(True, 5, True), (True, 2, False), (False, 5, False)])
def test_a_long_check_shows_a_progress_bar_on_a_terminal(folder, encoder, monkeypatch, terminal, problems, shown):
    console = Console(file=StringIO(), force_terminal=terminal, width=200)
    monkeypatch.setattr(screening, "make_console", lambda stderr: console)
    monkeypatch.setattr(screening, "_BATCH", 2)
    path = write(folder, *[{}] * problems)
    screen(load_problems(path), encoder)
    assert (f"checking prompts and images of {path}" in console.file.getvalue()) == shown
