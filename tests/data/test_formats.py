"""Data sets in common forms: saved folders, chats with parts, ShareGPT and LLaVA, lists and patterns of files, URLs."""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError

TEXT = {"problem": "1 + 1?", "answer": "2"}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "data.md"


@pytest.fixture
def folder(tmp_path, png, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pics").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "pics" / name).write_bytes(png())
    return tmp_path


def lines(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def refused(spec, *words, **options) -> str:
    with pytest.raises(UserError) as error:
        load_problems(spec if isinstance(spec, list) else str(spec), **options)
    assert all(str(word) in str(error.value) for word in words), str(error.value)
    return str(error.value)


# --- folders of `datasets.save_to_disk` ---


def test_saved_data_sets_and_splits(tmp_path, png):
    image = {"bytes": png(), "path": None}
    rows = [{"problem": f"<image>{n}?", "answer": str(n), "images": [image]} for n in range(4)]
    features = datasets.Features(
        problem=datasets.Value("string"), answer=datasets.Value("string"), images=[datasets.Image()]
    )
    whole = datasets.Dataset.from_list(rows, features=features)
    whole.select([3, 1]).save_to_disk(str(tmp_path / "one"))  # a selection has a table of indices
    problems = load_problems(str(tmp_path / "one"))
    assert [(p.answer, p.images) for p in problems] == [("3", (png(),)), ("1", (png(),))]
    assert problems[1].where == f"{tmp_path / 'one'}@train, row 1" and not problems.matches_file
    splits = datasets.DatasetDict(train=whole, validation=whole.select([2]))
    splits.save_to_disk(str(tmp_path / "both"))
    assert len(load_problems(str(tmp_path / "both"))) == 4
    for name in ("validation", "val", "dev"):
        assert [p.answer for p in load_problems(f"{tmp_path / 'both'}@{name}")] == ["2"]
    refused(f"{tmp_path / 'both'}@test", "no split 'test'", "train, validation")
    refused(f"{tmp_path / 'one'}@test", "has one split")
    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"torn")
    refused(tmp_path / "one", tmp_path / "one", "can't be read")


# --- chats ---


def parts(image: dict | None, text: str = "How tall?") -> list[dict]:
    return [*([image] if image else []), {"type": "text", "text": text}]


@pytest.mark.parametrize(
    "image",
    [
        {"type": "image_url", "image_url": {"url": "pics/a.png"}},
        {"type": "image_url", "image_url": "pics/a.png"},
        {"type": "input_image", "image_url": "pics/a.png"},
        {"type": "image", "image": "pics/a.png"},
        {"type": "image", "path": "pics/a.png"},
        {"type": "image", "url": "pics/a.png"},
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_chats_that_contain_images(folder, image, suffix):
    chat = [
        {"role": "user", "content": parts(image)},
        {"role": "assistant", "content": [{"type": "text", "text": "7"}]},
    ]
    path = folder / f"set{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([{"messages": chat}]), path)
    else:
        lines(path, {"messages": chat})
    (problem,) = load_problems(str(path), "messages", "messages")
    assert (problem.question, problem.answer, problem.images) == ("<image>How tall?", "7", ("pics/a.png",))


def test_a_system_message_of_text_and_a_user_message_of_parts(folder):
    """An Arrow column can't have both text and lists as content."""
    chats = [
        [{"role": "system", "content": "Be careful."}, {"role": "user", "content": parts({"type": "image"})}],
        [{"role": "user", "content": "Plain?"}],
    ]
    rows = [{"prompt": chat, "answer": "7", "images": ["pics/a.png"] if n == 0 else []} for n, chat in enumerate(chats)]
    first, second = load_problems(lines(folder / "set.jsonl", *rows), "prompt")
    assert (first.system, first.question, first.images) == ("Be careful.", "<image>How tall?", ("pics/a.png",))
    assert (second.system, second.question, second.images) == (None, "Plain?", ())


def test_parts_in_a_parquet_file_with_bytes(folder, png):
    def row(content, images):
        return {"prompt": [{"role": "user", "content": content}], "answer": "7", "images": images}

    rows = [row(parts({"type": "image", "text": None}), [{"bytes": png(), "path": None}])]
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    assert load_problems(str(folder / "a.parquet"), "prompt")[0].images == (png(),)
    brought = parts({"type": "image", "image": {"bytes": png(), "path": None}})
    pq.write_table(pa.Table.from_pylist([row(brought, None)]), folder / "b.parquet")
    assert load_problems(str(folder / "b.parquet"), "prompt")[0].images == (png(),)
    pq.write_table(pa.Table.from_pylist([row(brought, [{"bytes": png(), "path": None}])]), folder / "c.parquet")
    refused(folder / "c.parquet", "row 0, prompt", "expected them in one place", prompt_key="prompt")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]}], "has a part dict"),
        ([{"role": "user", "content": [7]}], "has a part int 7"),
        ([{"role": "user", "content": 7}], "content is int 7"),
        ([{"text": "?"}], "expected messages {role, content}"),
        ([{"role": "system", "content": parts({"type": "image"})}, {"role": "user", "content": "?"}], "system message"),
        (
            [{"from": "human", "value": "?"}, {"from": "gpt", "value": "1"}, {"from": "human", "value": "?"}],
            "roles user",
        ),
        ([{"role": "user", "content": parts({"type": "image"})}], "has 1 <image>, but 'images' has 0"),
        ([{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}], "<video>"),
        ("?", None),
    ],
)
def test_invalid_chats_are_bad_rows(folder, messages, words):
    path = lines(folder / "set.jsonl", {"prompt": "1 + 1?", "answer": "2"}, {"prompt": messages, "answer": "2"})
    if words is None:
        assert len(load_problems(path, "prompt")) == 2
        return
    path = lines(folder / "set.jsonl", {"prompt": [{"role": "user", "content": "?"}], "answer": "2", "images": []},
                 {"prompt": messages, "answer": "2", "images": []})  # fmt: skip
    refused(path, "1 of 2 rows", f"{path}, row 1, prompt", words, prompt_key="prompt")
    assert len(load_problems(path, "prompt", bad_rows="drop")) == 1


def test_sharegpt_and_llava_formats(folder):
    rows = [
        {"id": "0", "image": "pics/a.png", "conversations": [
            {"from": "human", "value": "<image>\nHow tall?"}, {"from": "gpt", "value": "7"}]},
        {"id": "1", "image": ["pics/a.png", "pics/b.png"], "conversations": [
            {"from": "system", "value": "Be careful."}, {"from": "human", "value": "<image><image>Sum?"},
            {"from": "gpt", "value": "12"}]},
    ]  # fmt: skip
    (folder / "set.json").write_text(json.dumps(rows))
    found = load_problems(str(folder / "set.json"), "conversations", "conversations", "image")
    assert [(p.question, p.answer, p.images, p.system) for p in found] == [
        ("<image>\nHow tall?", "7", ("pics/a.png",), None),
        ("<image><image>Sum?", "12", ("pics/a.png", "pics/b.png"), "Be careful."),
    ]
    message = refused(folder / "set.json", prompt_key="prompt")
    assert "data.prompt_key=conversations" in message and "data.answer_key=conversations" in message
    pq.write_table(pa.Table.from_pylist([{**rows[0], "image": "pics/a.png"}]), folder / "set.parquet")
    (problem,) = load_problems(str(folder / "set.parquet"), "conversations", "conversations", "image")
    assert (problem.question, problem.answer) == ("<image>\nHow tall?", "7")
    unanswered = lines(folder / "open.jsonl", {"conversations": rows[0]["conversations"][:1], "image": "pics/a.png"})
    keys = {"prompt_key": "conversations", "answer_key": "conversations", "image_key": "image"}
    refused(unanswered, "row 0, conversations: is empty", **keys)


# --- several files ---


def test_lists_commas_and_patterns_of_mixed_formats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a, b = lines(tmp_path / "a.jsonl", TEXT), lines(tmp_path / "b.jsonl", {**TEXT, "answer": "3"})
    pq.write_table(pa.Table.from_pylist([{**TEXT, "answer": "4"}]), tmp_path / "c.parquet")
    (tmp_path / "d.csv").write_text("problem,answer\n1 + 1?,05\n")
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(json.dumps({**TEXT, "answer": "6"}).encode()))
    datasets.Dataset.from_list([TEXT]).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "folder").mkdir()
    lines(tmp_path / "folder" / "val.jsonl", {**TEXT, "answer": "7"})
    spec = [a, str(tmp_path / "c.parquet"), "d.csv", "e.jsonl.gz", "saved", "folder@validation"]
    found = load_problems(spec)
    assert [p.answer for p in found] == ["2", "4", "05", "6", "2", "7"] and not found.matches_file
    assert [p.uid for p in load_problems(",".join(spec))] == [p.uid for p in found]
    assert [p.uid for p in load_problems("*.jsonl")] == ["a.jsonl:0", "b.jsonl:0"]
    assert [p.uid for p in load_problems(f"{tmp_path}/**/v*.jsonl")] == [f"{tmp_path}/folder/val.jsonl:0"]
    assert [p.uid for p in load_problems(["*.jsonl@train", "d.csv"])] == ["a.jsonl:0", "b.jsonl:0", "d.csv:0"]
    refused([a, "d.csv", a], a, "listed twice")
    refused("*.parquetx", "*.parquetx", "no file matches")
    refused([a, str(tmp_path / "gone.jsonl")], "gone.jsonl: no such file")
    lines(tmp_path / "b.jsonl", TEXT, {"problem": "?", "answer": ""})
    refused([a, b, "d.csv"], "1 of 4 rows", f"{b}, row 1, answer: is empty")
    refused([], "no data set: set")
    odd = lines(tmp_path / "x,y.jsonl", TEXT)
    assert len(load_problems(odd)) == 1


def test_the_file_with_other_columns_is_named(tmp_path):
    a, b = lines(tmp_path / "a.jsonl", TEXT), lines(tmp_path / "b.jsonl", {"question": "?", "answer": "1"})
    refused([a, b], f"{b}: no column 'problem'", "data.prompt_key=question")


# --- URLs ---


@pytest.mark.parametrize("url", ["https://example.org/a.png", "s3://bucket/a.png", "data:image/png;base64,aGk="])
def test_urls_are_unsupported(tmp_path, url):
    for images in ([url], url):
        path = lines(tmp_path / "set.jsonl", {"problem": "<image>?", "answer": "1", "images": images})
        assert "does not exist" not in refused(path, "row 0, images", "unsupported", "save the image to a file")
    chat = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    refused(lines(tmp_path / "chat.jsonl", {"problem": chat, "answer": "1"}), "row 0, images", "unsupported")
    assert "no such file" not in refused(url, "unsupported", "download the file")


# --- the documentation ---


def test_every_sample_row_of_the_documentation_loads(folder):
    """A block of docs/data.md has a comment with the name and keys of a file, then the file."""
    blocks = re.findall(r"```(?:json|csv)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names = []
    for block in blocks:
        head, body = block.split("\n", 1)
        name, *keys = head.removeprefix("# ").split()
        names.append(name)
        (folder / name).write_text(body)
        options = {f"{role}_key": value for role, value in (key.split("=") for key in keys)}
        problems = load_problems(str(folder / name), **options)
        assert len(problems) == (2 if name.endswith(".csv") else 1)
        for problem in problems:
            assert problem.answer == "7" and "How tall" in problem.question
            assert problem.question.count("<image>") == len(problem.images) == 1
    assert {Path(name).suffix for name in names} == {".jsonl", ".json", ".csv"} and len(names) >= 5
    with open(folder / next(name for name in names if name.endswith(".csv"))) as file:
        assert next(csv.reader(file)) == ["problem", "answer", "images"]


def test_the_cases_of_past_failures(shared_data):
    data = shared_data.parent / "cases" / "data"
    if not data.is_dir():
        pytest.skip("the data of past failures (../shared/cases) is missing")

    def answers(name, *keys):
        return [(p.answer, len(p.images)) for p in load_problems(str(data / name), *keys)]

    expected = answers("a2.jsonl")
    assert len(expected) == 30 and expected[-1] == ("12", 2)
    saved = answers("c_saved")
    assert answers("c_dict") == saved and len(saved) == len(answers("b2.parquet")) == 30
    assert answers("c_dict@validation") == saved[:5]
    for name, keys in {
        "e2.jsonl": ("prompt",),
        "e2_parts.jsonl": ("prompt",),
        "e2_openai.jsonl": ("messages",),
        "f2.json": ("conversations", "conversations", "image"),
    }.items():
        assert len(answers(name, *keys)) == 30, name
    assert len(answers("d2.csv")) == 29
