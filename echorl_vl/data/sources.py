"""Where problems come from: the hub, files of any kind, or this project's generator, all with one schema."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import datasets

from echorl_vl.data.checks import BadRow, check_columns, check_rows, raise_bad_rows
from echorl_vl.data.files import SUFFIXES, answer_text, find_files, missing_path, read_file, root_cause
from echorl_vl.data.problem import Keys, Part, PictureSource, Problem, Problems
from echorl_vl.errors import UserError

GENERATED = "generated/"
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def load_problems(
    spec: str,
    prompt_key: str = "problem",
    answer_key: str = "answer",
    image_key: str = "images",
    image_dir: str | Path | None = None,
    video_key: str = "videos",
    videos: bool = False,
) -> Problems:
    """Load a set of problems and check every row of it, without decoding a picture.

    ``spec`` is what EasyR1's ``data.train_files`` takes: a parquet, jsonl, json, csv or arrow file, a folder of such
    files (FOLDER@SPLIT for one split), a data set of the hub ("hiyouga/geometry3k@train"); or
    "generated/geometry3k@train" for the generator. The split is train where none is named. The pictures of a row are
    bytes, or paths relative to ``image_dir`` (else to the working directory, else to the data file's folder).
    A set without pictures needs no column of them. ``videos``: the engine reads videos, so a row may have some.

    Raises UserError for whatever is wrong with the source, its columns or its rows, naming file, row and field.
    """
    keys = Keys(prompt_key, answer_key, image_key, video_key)
    if image_dir is not None and not Path(image_dir).is_dir():
        raise UserError(f"{image_dir}: no such folder (data.image_dir)")
    parts: list[Part] = []
    bad: list[BadRow] = []
    for name, dataset, folder in _tables(spec, keys):
        rows = dataset.with_format("arrow")
        wanted = [key for key in (prompt_key, answer_key, image_key, video_key) if key in rows.column_names]
        reader = _RowReader(name, rows, keys, image_dir, folder)
        table = rows.select_columns(list(dict.fromkeys(wanted)))[:]
        check_columns(table, name, keys, rows.column_names)
        bad.extend(check_rows(table, name, keys, reader.locate, videos))
        parts.append(Part(len(rows), reader))
    raise_bad_rows(bad, sum(part.size for part in parts))
    return Problems(spec, parts)


class _RowReader:
    """Reads one row of a table as a Problem; the pictures stay as they are, undecoded."""

    def __init__(
        self, name: str, rows: datasets.Dataset, keys: Keys, image_dir: str | Path | None, folder: Path | None
    ):
        self.name = name
        self.rows = rows
        self.keys = keys
        self.image_dir = image_dir
        self.folder = folder

    def __call__(self, index: int) -> Problem:
        row = self.rows[index].to_pylist()[0]
        keys = self.keys
        images = row.get(keys.image)
        images = [] if images is None else images if isinstance(images, list) else [images]
        return Problem(
            uid=f"{self.name}:{index}",
            question=row[keys.prompt],
            answer=answer_text(row[keys.answer]),
            images=tuple(self._picture(image) for image in images),
            extra={name: value for name, value in row.items() if name not in (keys.prompt, keys.answer, keys.image)},
            keys=keys,
        )

    def locate(self, path: str) -> str:
        """The file that a picture's path means."""
        path = path.removeprefix("file://")
        if self.image_dir is not None:
            return os.path.join(self.image_dir, path)
        beside = None if self.folder is None else os.path.join(self.folder, path)
        return beside if beside is not None and not os.path.isfile(path) and os.path.isfile(beside) else path

    def _picture(self, image: Any) -> PictureSource:
        if isinstance(image, dict):
            image = image.get("bytes") or image.get("path") or b""
        return self.locate(image) if isinstance(image, str) else image


def _tables(spec: str, keys: Keys) -> list[tuple[str, datasets.Dataset, Path | None]]:
    """(name for messages, table, folder of the file if it is one) for each file of ``spec``."""
    if not spec or not spec.strip():
        raise UserError("no data set given: set data.train_files and data.val_files")
    place, split = spec, "train"
    if not Path(spec).expanduser().exists() and "@" in spec:
        place, _, split = spec.rpartition("@")
        if not place or not split:
            raise UserError(f"{spec}: wanted PLACE or PLACE@SPLIT, for example hiyouga/geometry3k@train")
    path = Path(place).expanduser()
    if place.startswith(GENERATED):
        return [(f"{place}@{split}", _generated(place, split), None)]
    if path.exists():
        return [(str(file), read_file(file, keys), file.parent) for file in find_files(path, split)]
    if _is_path(place):
        raise missing_path(path)
    return [(f"{place}@{split}", _from_hub(place, split), None)]


def _is_path(place: str) -> bool:
    """Whether a place that doesn't exist was meant as a path: the hub has no such ids, or its folder is here."""
    first = Path(place).parts[0]
    return (
        Path(place).suffix.lower() in SUFFIXES
        or place.startswith(("~", "."))
        or not _HUB_ID.fullmatch(place)
        or ("/" in place and Path(first).is_dir())
    )


def _generated(place: str, split: str) -> datasets.Dataset:
    name = place.removeprefix(GENERATED)
    if name != "geometry3k":
        raise UserError(f"{place}: the generator makes {GENERATED}geometry3k, nothing named '{name}'")
    from geometry3k.generate import load_split  # only here: a run on a user's own data doesn't draw diagrams

    try:
        return load_split(split)
    except (KeyError, ValueError) as error:
        raise UserError(f"{place}@{split}: {error.args[0] if error.args else error}") from error


def _from_hub(name: str, split: str) -> datasets.Dataset:
    local = f"To use a local copy, give its path (a file {', '.join(SUFFIXES)} or a folder of them) instead of '{name}'"
    try:
        dataset = datasets.load_dataset(name, split=split)
    except ValueError as error:
        if "split" in str(error).lower():
            raise UserError(f"{name}@{split}: {error}") from error
        raise UserError(f"{name}@{split}: the hub's data set can't be loaded: {root_cause(error)}. {local}") from error
    except Exception as error:  # no network, no such data set, no access, a full disk: the hub's client has one each
        raise UserError(
            f"{name}@{split}: no file or folder of this name is here, and the Hugging Face hub did not give it "
            f"({root_cause(error)}). {local}"
        ) from error
    if len(dataset) == 0:
        raise UserError(f"{name}@{split}: the split holds no problems (0 rows)")
    return dataset
