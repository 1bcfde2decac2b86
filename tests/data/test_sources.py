"""Problems from files, folders, the hub and generators, and errors of invalid ones."""

from __future__ import annotations

import json
import sys
import types

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.data.checks import image_cells
from echorl_vl.data.generated import register_source
from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError

GOOD = {"problem": "<image>Find x.", "answer": "5", "images": ["a.png"]}


@pytest.fixture
def folder(tmp_path, png, monkeypatch):
    """A folder with the images a.png and b.png, which is not the working directory."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a.png", "b.png"):
        (data / name).write_bytes(png())
    return data


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


def refused(spec, *words, **options) -> str:
    with pytest.raises(UserError) as error:
        load_problems(str(spec), **options)
    message = str(error.value)
    assert all(str(word) in message for word in words), message
    return message


@pytest.mark.parametrize("name", ["set.parquet", "set.jsonl", "set.json", "set.csv", "set.arrow"])
def test_every_format_gives_the_same_problems(folder, name):
    rows = [{"problem": "<image>Find x.", "answer": "5", "images": "a.png", "level": "1"}]
    rows += [{"problem": '<image>Find\ny, "z".', "answer": "1.50", "images": "b.png", "level": "2"}]
    path = folder / name
    if name.endswith(".csv"):
        datasets.Dataset.from_list(rows).to_csv(str(path))
    elif name.endswith(".arrow"):
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    else:
        write(path, rows)
    problems = load_problems(str(path))
    assert [p.uid for p in problems] == [f"{path}:0", f"{path}:1"]
    assert [(p.question, p.answer) for p in problems] == [(row["problem"], row["answer"]) for row in rows]
    assert [p.images for p in problems] == [(str(folder / "a.png"),), (str(folder / "b.png"),)]
    assert problems[-1].extra == {"level": "2"}
    assert problems[1].where == f"{path}, row 1"


def test_images_are_bytes_or_paths_in_lists_or_alone(folder, png):
    data = png()
    cases = [
        ([[{"bytes": data, "path": "x.png"}]], data),
        ([[{"bytes": None, "path": "a.png"}]], str(folder / "a.png")),
        ([[{"path": "a.png"}]], str(folder / "a.png")),
        ([["file://" + str(folder / "a.png")]], str(folder / "a.png")),
        ([{"bytes": data, "path": None}], data),
        ([data], data),
        (["a.png"], str(folder / "a.png")),
    ]
    for index, (images, expected) in enumerate(cases):
        path = folder / f"set{index}.parquet"
        pq.write_table(pa.table({"problem": ["<image>?"], "answer": ["1"], "images": images}), path)
        assert load_problems(str(path))[0].images == (expected,)


def test_image_columns_are_not_decoded_at_load(folder, png):
    features = datasets.Features(
        problem=datasets.Value("string"), answer=datasets.Value("string"), images=[datasets.Image()]
    )
    rows = [{"problem": "<image><image>?", "answer": "1", "images": [{"bytes": b"no image", "path": None}] * 2}]
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(folder / "set.parquet"))
    assert load_problems(str(folder / "set.parquet"))[0].images == (b"no image", b"no image")


def test_keys_numbers_and_sets_without_images(tmp_path):
    rows = [{"q": "1+1?", "a": 2}, {"q": "half?", "a": 0.5}, {"q": "ten?", "a": 10.0}, {"q": "text", "a": "007"}]
    path = write(tmp_path / "set.jsonl", rows)
    problems = load_problems(str(path), prompt_key="q", answer_key="a")
    assert [p.answer for p in problems] == ["2", "0.5", "10", "007"]
    assert all(p.images == () for p in problems)
    dates = write(tmp_path / "dates.json", [{"problem": "day?", "answer": "2020-01-01"}])
    assert load_problems(str(dates))[0].answer == "2020-01-01"
    mixed = write(tmp_path / "mixed.jsonl", [{**GOOD, "problem": "?", "images": None, "level": i} for i in (1, "two")])
    assert [p.extra["level"] for p in load_problems(str(mixed))] == ["1", '"two"']
    # A column of empty lists.
    pq.write_table(pa.table({"problem": ["?"], "answer": ["1"], "images": pa.array([[]])}), tmp_path / "none.parquet")
    assert load_problems(str(tmp_path / "none.parquet"))[0].images == ()


def test_text_of_a_csv_is_unchanged(tmp_path):
    (tmp_path / "set.csv").write_text("problem,answer\na?,NA\nb?,007\nc?,1.50\nd?,None\n")
    assert [p.answer for p in load_problems(str(tmp_path / "set.csv"))] == ["NA", "007", "1.50", "None"]


def test_json_lines_in_a_json_file(tmp_path):
    path = tmp_path / "set.json"
    path.write_text('\ufeff{"problem": "a?", "answer": "1"}\n{"problem": "b?", "answer": "2"}\n')
    assert [p.answer for p in load_problems(str(path))] == ["1", "2"]


def test_relative_paths_of_images_are_looked_up_in_order(folder, png, tmp_path):
    path = write(folder / "set.jsonl", [GOOD])
    assert load_problems(str(path))[0].images == (str(folder / "a.png"),)
    (tmp_path / "home" / "a.png").write_bytes(png())
    assert load_problems(str(path))[0].images == ("a.png",)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    refused(path, "row 0", "images", elsewhere / "a.png", "does not exist", image_dir=elsewhere)
    (elsewhere / "a.png").write_bytes(png())
    assert load_problems(str(path), image_dir=elsewhere)[0].images == (str(elsewhere / "a.png"),)
    refused(path, tmp_path / "nowhere", "data.image_dir", image_dir=tmp_path / "nowhere")


def test_a_folder_is_read_by_split_and_rows_are_counted_per_file(tmp_path):
    text = {"problem": "?", "answer": "1"}
    names = ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl", "val.jsonl", "sub/test/0.jsonl"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, [text, text])
    (tmp_path / "SOURCE.txt").write_text("not data")
    problems = load_problems(str(tmp_path))
    assert [p.uid for p in problems] == [f"{tmp_path / name}:{row}" for name in names[:2] for row in (0, 1)]
    assert [p.uid for p in problems[1:3]] == [problems[1].uid, problems[2].uid]
    assert [p.uid for p in problems.select([3, 0])] == [problems[3].uid, problems[0].uid]
    for split in ("val", "validation", "dev"):
        assert load_problems(f"{tmp_path}@{split}")[0].uid == f"{tmp_path / 'val.jsonl'}:0"
    assert len(load_problems(f"{tmp_path}@test")) == 2
    refused(f"{tmp_path}@trian", "trian", "train: 2", "validation: 1", "test: 1")
    refused(tmp_path / "val.jsonl@test", "single file")
    write(tmp_path / "train.json", [text])
    refused(tmp_path, "several formats", ".json, .jsonl")


def test_files_without_a_split_are_train(tmp_path):
    write(tmp_path / "part-1.jsonl", [{"problem": "?", "answer": "1"}])
    assert len(load_problems(str(tmp_path))) == 1
    refused(f"{tmp_path}@test", "test", "train: 1")


def test_missing_columns_are_named_with_setting_and_suggestion(folder):
    path = write(folder / "set.parquet", [{"question": "?", "answer": "1"}])
    refused(path, path, "no column 'problem'", "data.prompt_key", "question, answer", "data.prompt_key=question")
    refused(path, "'anwser'", "data.answer_key=answer", prompt_key="question", answer_key="anwser")
    path = write(folder / "set2.parquet", [{"problem": "<image>?", "answer": "1", "picture": ["a.png"]}])
    refused(path, "no column 'images'", "data.image_key=picture", "1 row with <image>")
    assert load_problems(str(path), image_key="picture")[0].keys.image == "picture"


def test_columns_of_an_invalid_type_are_errors(tmp_path):
    chat = [{"problem": [{"role": "user", "content": [{"type": "text"}]}], "answer": "1"}]
    refused(write(tmp_path / "chat.parquet", chat), "row 0, problem", "has a part", "expected {type: text, text}")
    speech = [{"problem": [{"speaker": "user", "content": "?"}], "answer": "1"}]
    refused(write(tmp_path / "speech.parquet", speech), "'problem'", "data.prompt_key", "list<", "messages of text")
    listed = [{"problem": "?", "answer": ["1"]}]
    refused(write(tmp_path / "a.parquet", listed), "'answer'", "list<", "text or a number")
    refused(write(tmp_path / "a.jsonl", listed), "row 0, answer", "got list")
    refused(write(tmp_path / "b.jsonl", [{"problem": "?", "answer": True}]), "row 0, answer", "got bool")
    refused(write(tmp_path / "c.parquet", [{"problem": "?", "answer": True}]), "'answer'", "bool")
    refused(write(tmp_path / "d.parquet", [{**GOOD, "images": [7]}]), "'images'", "int64")
    refused(
        write(tmp_path / "e.parquet", [{**GOOD, "images": [{"bytes": "aGk=", "path": None}]}]), "'images'", "expected"
    )
    refused(write(tmp_path / "f.jsonl", [{**GOOD, "images": [1]}, GOOD]), tmp_path / "f.jsonl")


def test_every_bad_row_is_counted_and_the_first_are_listed(folder):
    bad = [
        {**GOOD, "problem": "<image>" * 2},
        {**GOOD, "problem": " "},
        {**GOOD, "answer": "\n"},
        {**GOOD, "problem": None},
        {**GOOD, "problem": "no placeholder"},
        {**GOOD, "images": []},
        {**GOOD, "images": ["gone.png"]},
        {**GOOD, "problem": "<image><video>"},
        {"problem": "<image>?", "answer": "1"},
        {**GOOD, "images": [None]},
    ]
    rows = [row for one in bad for row in (GOOD, one)]
    for name in ("set.jsonl", "set.parquet"):
        path = write(folder / name, rows)
        message = refused(path, f"{len(bad)} of {2 * len(bad)} rows")
        assert f"{path}, row 1, problem: has 2 <image>, but 'images' has 1 image(s)" in message
        assert f"{path}, row 3, problem: is empty" in message
        assert f"{path}, row 5, answer: is empty" in message
        assert f"{path}, row 9, problem: has no <image>, but 'images' has 1 image(s)" in message
        assert message.count("\n") == 9 and message.splitlines()[-1].startswith("  and ")
    for index, words in {
        3: "problem: is empty",
        5: "problem: has 1 <image>, but 'images' has 0",
        6: "images: image file gone.png does not exist",
        7: "problem: has <video>: videos are not supported",
        8: "problem: has 1 <image>, but 'images' has 0",
        9: "images: an image has neither bytes nor a path",
    }.items():
        refused(write(folder / f"one{index}.jsonl", [GOOD, bad[index]]), "1 of 2 rows", f"row 1, {words}")


def test_bad_rows_are_found_in_every_chunk_and_file(tmp_path, png):
    good = {"bytes": png(2, 2), "path": None}
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    for file in range(2):
        counts = [(row + file) % 3 for row in range(2500)]
        questions = ["<image>" * count + "?" for count in counts]
        questions[1234] += "<image>"
        images = pa.array([[good] * count or None for count in counts], kind)
        table = pa.table({"problem": questions, "answer": ["1"] * 2500, "images": images})
        pq.write_table(table, tmp_path / f"{file}.parquet", row_group_size=700)
    message = refused(tmp_path, "2 of 5000 rows")
    expected = [f"{tmp_path / name}, row 1234, problem: has " for name in ("0.parquet", "1.parquet")]
    assert all(words in message for words in expected)


CELLS = st.one_of(st.none(), st.sampled_from([b"x", b""]))
PATHS = st.one_of(st.none(), st.sampled_from(["a.png", "b.png", ""]))
STRUCTS = st.one_of(st.none(), st.fixed_dictionaries({"bytes": CELLS, "path": PATHS}))
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COLUMNS = [(CELLS, pa.binary()), (PATHS, pa.string()), (STRUCTS, STRUCT)]
COLUMNS += [(st.one_of(st.none(), st.lists(cell, max_size=3)), pa.list_(kind)) for cell, kind in COLUMNS]


@settings(max_examples=60, deadline=None)
@given(column=st.sampled_from(COLUMNS), data=st.data())
def test_image_cells_equal_a_loop_over_the_rows(column, data):
    values, kind = column
    chunks = data.draw(st.lists(st.lists(values, max_size=5), max_size=4))
    rows = [row for chunk in chunks for row in chunk]
    counts, faults, paths = [], [], []
    for index, row in enumerate(rows):
        cells = row if isinstance(row, list) else [] if row is None else [row]
        counts.append(len(cells))
        for cell in cells:
            inside = cell if isinstance(cell, bytes) else cell.get("bytes") if isinstance(cell, dict) else None
            path = cell if isinstance(cell, str) else cell.get("path") if isinstance(cell, dict) else None
            if not inside and path:
                paths.append((index, path))
            elif not inside:
                faults.append(index)
    # Slice off the first and last element of each chunk, so that chunks have offsets.
    padded = [pa.array([*chunk[:1], *chunk, *chunk[:1]], kind) for chunk in chunks]
    sliced = [chunk.slice(1, len(chunk) - 2) if len(chunk) else chunk for chunk in padded]
    found = image_cells(pa.chunked_array(sliced, kind))
    assert found.counts.tolist() == counts
    assert sorted(row for row, _ in found.faults) == faults
    assert sorted(found.paths) == sorted(paths)


def test_videos_are_errors(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"problem": "?", "answer": "1", "videos": ["a.mp4"]}])
    refused(path, "row 0, videos", "videos are not supported")
    empty = write(tmp_path / "b.jsonl", [{"problem": "?", "answer": "1", "videos": []}])
    assert len(load_problems(str(empty))) == 1
    refused(write(tmp_path / "c.jsonl", [{"problem": "?", "answer": "1", "clip": "a"}]), "clip", video_key="clip")


def test_empty_sets_are_errors(tmp_path):
    for name in ("a.jsonl", "a.parquet", "a.csv"):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, name, "empty")
    empty = pa.table({"problem": pa.array([], pa.string()), "answer": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "b.parquet")
    refused(tmp_path / "b.parquet", "b.parquet", "no problems")
    refused(write(tmp_path / "b.json", []), "b.json", "no problems")
    (tmp_path / "b.csv").write_text("problem,answer\n")
    refused(tmp_path / "b.csv", "no problems")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "folder", ".parquet")
    refused("", "data.train_files")


def test_errors_of_damaged_files_name_the_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"problem": "?", "answer": "1"}\n{"problem": "?", "answ\n')
    refused(path, path, "line 2", "not JSON")
    path.write_text('{"problem": "?", "answer": "1"}\n7\n')
    refused(path, "row 1", "got int 7")
    (tmp_path / "b.json").write_text('[{"problem": "?",\n "answer": }]')
    refused(tmp_path / "b.json", "line 2", "not JSON")
    write(tmp_path / "c.json", {"data": [{"problem": "?", "answer": "1"}]})
    refused(tmp_path / "c.json", "expected a list of problems")
    whole = write(tmp_path / "d.parquet", [{"problem": "?" * 999, "answer": "1"}])
    whole.write_bytes(whole.read_bytes()[:-20])
    refused(whole, whole, "parquet")
    (tmp_path / "e.jsonl").write_bytes(b'{"problem": "\xff\xfe"}\n')
    refused(tmp_path / "e.jsonl", "e.jsonl", "utf-8")
    (tmp_path / "f.txt").write_text("?")
    refused(tmp_path / "f.txt", ".txt", ".parquet")


def test_an_error_of_a_missing_path_names_a_similar_one(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "geometry.jsonl", [{"problem": "?", "answer": "1"}])
    refused(tmp_path / "geometri.jsonl", "no such file or folder", path)
    refused("geometri.jsonl", "no such file", "geometry.jsonl")
    refused("./nothing/here@train", "no such file or folder", "nothing")
    (tmp_path / "data").mkdir()
    refused("data/geometry3k@train", "data/geometry3k", "no such file or folder")


def test_a_path_may_contain_an_at_sign(tmp_path):
    path = write(tmp_path / "set@2.jsonl", [{"problem": "?", "answer": "1"}])
    assert len(load_problems(str(path))) == 1 == len(load_problems(f"{path}@train"))


def test_the_split_of_a_hub_data_set_is_loaded(monkeypatch):
    def load(name, split):
        if split == "text":
            raise ValueError("Unknown split \"text\". Should be one of ['train', 'test'].")
        return datasets.Dataset.from_list([{"problem": f"{name} {split}?", "answer": "1"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    for spec, split in (("someone/geometry3k@test", "test"), ("someone/geometry3k", "train")):
        problem = load_problems(spec)[0]
        assert (problem.question, problem.uid) == (f"someone/geometry3k {split}?", f"someone/geometry3k@{split}:0")
    refused("someone/geometry3k@text", "'train', 'test'")


@pytest.mark.parametrize("error", [ConnectionError("no route"), FileNotFoundError("no such set"), OSError(28, "full")])
def test_an_error_of_the_hub_explains_local_copies(monkeypatch, error):
    def load(name, split):
        raise RuntimeError("wrapped") from error

    monkeypatch.setattr(datasets, "load_dataset", load)
    refused("someone/geometry3k@train", "someone/geometry3k", "hub", str(error), "local copy", ".parquet")


def test_the_split_of_a_generator_is_loaded(monkeypatch, png):
    def load_split(name):
        if name != "train":
            raise KeyError(f"no split {name}; there is train")
        rows = [{"images": [{"bytes": png(), "path": None}], "problem": "<image>?", "answer": "1", "kind": "circle"}]
        return datasets.Dataset.from_list(rows)

    monkeypatch.setitem(
        sys.modules, "echorl_vl.generators.geometry3k.generate", types.SimpleNamespace(load_split=load_split)
    )
    problem = load_problems("generated/geometry3k@train")[0]
    assert (problem.uid, problem.extra) == ("generated/geometry3k@train:0", {"kind": "circle"})
    refused("generated/geometry3k@trian", "generated/geometry3k@trian", "there is train")
    refused("generated/algebra@train", "generated/geometry3k", "algebra")


def test_a_function_can_be_registered_as_a_source(monkeypatch):
    monkeypatch.setattr("echorl_vl.data.generated._SOURCES", {})

    @register_source("generated/sums")
    def sums(split):
        if split != "train":
            raise ValueError(f"no split {split}")
        return datasets.Dataset.from_list([{"problem": f"{n} + 1", "answer": str(n + 1)} for n in range(3)])

    assert [problem.answer for problem in load_problems("generated/sums@train")] == ["1", "2", "3"]
    with pytest.raises(UserError, match="generated/sums@test"):
        load_problems("generated/sums@test")
    with pytest.raises(UserError, match="generated/products@train: unknown source; registered sources: generated/su"):
        load_problems("generated/products@train")
    with pytest.raises(ValueError, match="is already registered"):
        register_source("generated/sums")(lambda split: sums(split))
    with pytest.raises(ValueError, match="expected a source name generated/NAME"):
        register_source("sums")
