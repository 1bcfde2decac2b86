"""Conversion of the original Geometry3K release to the schema of the hub."""

from __future__ import annotations

import json
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from PIL import Image

from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError
from echorl_vl.generators.geometry3k.convert import convert, main


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


DATA = {
    "id": 7,
    "annotat_text": " Find $x$. ",
    "problem_text": "Find x.",
    "compact_text": "Find x .",
    "choices": ["1", "\\frac { 1 } { 2 }", "3", "4"],
    "answer": "B",
    "data_type": "train",
}


def png(color="white") -> bytes:
    file = BytesIO()
    Image.new("RGB", (40, 30), color).save(file, "PNG")
    return file.getvalue()


def add(folder: Path, data=None, image=None, **changes) -> Path:
    """Write a problem in the original layout; a change of None removes the field."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = {key: value for key, value in {**DATA, "id": int(folder.name), **changes}.items() if value is not None}
    (folder / "data.json").write_text(json.dumps(fields) if data is None else data)
    if image != b"":
        (folder / "img_diagram.png").write_bytes(image or png())
    return folder


def pack(folder: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, prefix + str(path.relative_to(folder)))
    return archive


@pytest.fixture
def release(tmp_path) -> Path:
    """Two splits in a subfolder, with the other files of the release."""
    root = tmp_path / "release"
    for name in ("train/7", "train/12", "val/3"):
        folder = add(root / "geometry3k" / name)
        (folder / "logic_form.json").write_text("{}")
        (folder / "img_diagram_point.png").write_bytes(png("red"))
    return root


def rows(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def conversion_error(source, out, *words, **options) -> str:
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(UserError) as error:
        convert(source, out, **options)
    assert all(str(word) in str(error.value) for word in words), str(error.value)
    assert sorted(out.parent.rglob("*")) == before, "something was written"
    return str(error.value)


def test_a_folder_gives_one_file_for_each_split(release, tmp_path):
    out = tmp_path / "new" / "out"
    assert convert(release, out) == {"train": 2, "validation": 1}
    assert sorted(path.name for path in out.iterdir()) == ["train.parquet", "validation.parquet"]
    written = rows(out / "train.parquet")
    assert [row["id"] for row in written] == [7, 12]
    assert written[0] == {
        "id": 7,
        "images": [{"bytes": png(), "path": "7.png"}],
        "problem": "<image>Find $x$.",
        "answer": "\\frac { 1 } { 2 }",
        "choices": DATA["choices"],
        "split": "train",
    }
    problem = load_problems(f"{out}@val")[0]
    assert (problem.question, problem.answer) == ("<image>Find $x$.", "\\frac { 1 } { 2 }")
    assert problem.images == (png(),) and problem.extra["id"] == 3


def test_zips_give_the_same_rows_as_the_folder(release, tmp_path):
    convert(release, tmp_path / "a")
    convert(pack(release, tmp_path / "release.zip"), tmp_path / "b")
    # The downloaded form: a folder with one zip per split.
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    pack(release / "geometry3k" / "train", downloads / "train.zip")
    pack(release / "geometry3k" / "val", downloads / "val.zip", prefix="val/")
    convert(downloads, tmp_path / "c")
    for split in ("train", "validation"):
        tables = [rows(tmp_path / out / f"{split}.parquet") for out in "abc"]
        assert tables[0] == tables[1] == tables[2]


def test_one_split_is_written_to_one_file(release, tmp_path):
    out = tmp_path / "set.parquet"
    conversion_error(release, out, "train (2), validation (1)", "--split")
    assert convert(release, out, split="val") == {"validation": 1}
    assert [row["id"] for row in rows(out)] == [3]
    assert convert(release / "geometry3k" / "train", out) == {"train": 2}, "an existing file is replaced"
    assert [row["id"] for row in rows(out)] == [7, 12]
    conversion_error(release, tmp_path / "x" / "set.parquet", "no problems of the split test", split="test")


def test_the_text_comes_from_the_first_field_that_is_not_empty(tmp_path):
    for index, blank in enumerate([{}, {"annotat_text": ""}, {"annotat_text": None, "problem_text": "  "}]):
        add(tmp_path / "train" / str(index), **blank)
    convert(tmp_path, tmp_path / "out.parquet")
    texts = [row["problem"] for row in rows(tmp_path / "out.parquet")]
    assert texts == ["<image>Find $x$.", "<image>Find x.", "<image>Find x ."]


def test_without_a_folder_name_the_split_comes_from_data_type(tmp_path):
    add(tmp_path / "problems" / "1", data_type="test")
    assert convert(tmp_path / "problems", tmp_path / "out") == {"test": 1}


INVALID = {
    "1": ({"data": "{"}, "data.json: expected JSON"),
    "2": ({"data": "[]"}, "data.json: expected an object"),
    "3": ({"answer": "E"}, "answer: expected one of A, B, C, D, got 'E'"),
    "4": ({"answer": None}, "answer: expected one of A, B, C, D, got None"),
    "5": ({"choices": []}, "choices: expected a list"),
    "6": ({"choices": ["1", " "]}, "choices: the correct choice, B, is empty"),
    "7": ({"annotat_text": "", "problem_text": None, "compact_text": ""}, "annotat_text: expected text here or in"),
    "8": ({"image": b""}, "img_diagram.png: No such file"),
    "9": ({"image": png()[:50]}, "img_diagram.png: the image"),
    "10": ({"id": "ten"}, "id: expected a whole number, got 'ten'"),
    "11": ({"annotat_text": "<image> x"}, "annotat_text: expected text without <image>"),
    "12": ({"id": 20}, "expected a unique id, got 20"),
}


@pytest.mark.parametrize("packed", [False, True])
def test_invalid_entries_are_named_and_stop_the_conversion_or_are_left_out(tmp_path, caplog, packed):
    root = tmp_path / "release"
    for name, (changes, _) in INVALID.items():
        add(root / "train" / name, **changes)
    add(root / "train" / "20")
    add(root / "train" / "0")
    source = pack(root, tmp_path / "release.zip") if packed else root
    message = conversion_error(
        source, tmp_path / "out" / "train.parquet", f"{len(INVALID)} of {len(INVALID) + 2} problems"
    )
    for name, (_, words) in INVALID.items():
        line = next(line for line in message.splitlines() if words in line)
        # Entries 12 and 20 have the same id; the second in the order of their names is invalid.
        start = "20:" if name == "12" else f"{name},"
        assert line.strip().startswith(f"{source}/train/{start}"), line
    assert convert(source, tmp_path / "out", on_error="skip") == {"train": 2}
    assert f"skipped {len(INVALID)}" in caplog.text
    assert [row["id"] for row in rows(tmp_path / "out" / "train.parquet")] == [0, 20]


def test_a_damaged_member_of_a_zip_is_named(tmp_path):
    root = tmp_path / "release"
    for name in "12":
        add(root / "train" / name)
    archive = tmp_path / "release.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(root.rglob("*.*")):
            file.write(path, path.relative_to(root))
    data = archive.read_bytes()
    archive.write_bytes(data.replace(png()[40:60], b"x" * 20, 1))
    conversion_error(
        archive, tmp_path / "out.parquet", "1 of 2", "release.zip/train/1, img_diagram.png: can't be unpacked"
    )
    archive.write_bytes(data[:100])
    conversion_error(archive, tmp_path / "out.parquet", "release.zip", "expected a folder or a readable zip")


def test_invalid_sources_and_options_are_errors(release, tmp_path):
    conversion_error(tmp_path / "nowhere", tmp_path / "a.parquet", "nowhere", "no such file or folder")
    (tmp_path / "empty").mkdir()
    conversion_error(tmp_path / "empty", tmp_path / "a.parquet", "no problems", "img_diagram.png")
    conversion_error(release, tmp_path / "a.json", "a.json", ".parquet")
    conversion_error(release, tmp_path / "a.parquet", "--split dev", split="dev")
    conversion_error(release, tmp_path / "a.parquet", "--on-error go", on_error="go")


def test_a_failed_write_keeps_the_old_files_and_adds_none(release, tmp_path, monkeypatch):
    out = tmp_path / "out"
    convert(release, out)
    old = {path: path.read_bytes() for path in out.iterdir()}
    original = datasets.Dataset.to_parquet
    add(release / "geometry3k" / "train" / "99")

    def full_disk(self, place, *args, **options):
        if "validation" in place:
            Path(place).write_bytes(b"PAR1 half of it")
            raise OSError(28, "No space left on device")
        return original(self, place, *args, **options)

    monkeypatch.setattr(datasets.Dataset, "to_parquet", full_disk)
    conversion_error(release, out, "no space left on the disk", "validation.parquet")
    assert {path: path.read_bytes() for path in out.iterdir()} == old


def test_the_command_returns_an_exit_status(release, tmp_path, capsys):
    assert main([str(release), "--out", str(tmp_path / "a.parquet"), "--split", "train"]) == 0
    assert capsys.readouterr().out == "train: 2 problems\n"
    assert main([str(tmp_path / "gone"), "--out", str(tmp_path / "b.parquet")]) == 2
    assert "error: " in capsys.readouterr().err and not (tmp_path / "b.parquet").exists()


def test_problems_of_the_original_release_are_converted(shared_data, tmp_path):
    source = tmp_path / "copy" / "data"
    shutil.copytree(shared_data / "geometry3k_original", source)
    out = tmp_path / "train.parquet"
    assert convert(source.parent, out) == {"train": 10}
    problems = load_problems(str(out))
    originals = {int(folder.name): folder for folder in (source / "train").iterdir()}
    assert len(problems) == len(originals) == 10
    for problem in problems:
        folder = originals[problem.extra["id"]]
        data = json.loads((folder / "data.json").read_text())
        assert problem.images == ((folder / "img_diagram.png").read_bytes(),)
        assert problem.answer == data["choices"]["ABCD".index(data["answer"])]
        assert problem.question == "<image>" + data["annotat_text"]
    # The schema equals that of the hub's data set, so that both can be loaded together.
    hub = pq.read_schema(shared_data / "geometry3k" / "train.parquet")
    converted = pq.read_schema(out)
    assert all(converted.field(name).type == hub.field(name).type for name in ("id", "images", "problem", "answer"))
