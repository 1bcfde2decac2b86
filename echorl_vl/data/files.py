"""Files of problems: which files a path names, and a table from each, whatever its format."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import NamedTuple

import datasets
import pyarrow.parquet as pq

from echorl_vl.data.bad_rows import BadRow, raise_bad_rows
from echorl_vl.data.checks import nearest
from echorl_vl.data.text_rows import read_csv, read_json
from echorl_vl.errors import UserError, shorten
from echorl_vl.types import Keys

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".arrow")
_PACKED = (".jsonl", ".json", ".csv")  # also as .gz
_SAVED = ("state.json", "dataset_dict.json")  # what `datasets` writes beside a set that it saves
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test"} | {
    name: "validation" for name in ("validation", "valid", "val", "dev")
}


def format_of(path: Path) -> str | None:
    """The format that a file's name says, as one of ``SUFFIXES``, a .gz at its end aside; None for none of them."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        inner = Path(path.stem).suffix.lower()
        return inner if inner in _PACKED else None
    return suffix if suffix in SUFFIXES else None


def find_files(path: Path, split: str) -> list[Path]:
    """The data files that ``path`` (a file or a folder) holds for ``split``, in order of their names.

    In a folder a file belongs to the split that a word of its path names (train-00000.parquet, test/part.jsonl, with
    the usual other names: val, valid and dev for validation). Where no name tells, everything is train.
    Raises UserError if there are none, or of several formats.
    """
    split = _SPLITS.get(split, split)
    if path.is_file():
        if format_of(path) is None:
            raise UserError(f"{path}: '{path.suffix}' is no format of problems; expected {', '.join(SUFFIXES)}")
        if split != "train":
            raise UserError(f"{path}@{split}: a single file is all one split, train; leave @{split} out")
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: is no regular file (a device or pipe); expected a file or folder of problems")
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and format_of(file)]
    files = [file for file in files if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)]
    if not files:
        raise UserError(f"{path}: the folder has no file of problems ({', '.join(SUFFIXES)})")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(file.relative_to(path)) or "", []).append(file)
    if set(by_split) == {""}:
        by_split = {"train": files}
    if split not in by_split:
        found = ", ".join(f"{name or 'no split'}: {len(some)} file(s)" for name, some in sorted(by_split.items()))
        raise UserError(f"{path}: no file of the split '{split}'; found {found}. Name a split as FOLDER@SPLIT")
    suffixes = sorted({format_of(file) for file in by_split[split]})
    if len(suffixes) > 1:
        raise UserError(f"{path}: files of several formats ({', '.join(suffixes)}): give the files as a list")
    return by_split[split]


def split_of(path: Path) -> str | None:
    """The split that a word of ``path`` names, the file's own name before its folders'; None if there is none."""
    for part in (path.stem, *reversed(path.parent.parts)):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return None


def missing_path(path: Path) -> UserError:
    """The error for a path that does not exist, with the name beside it that is spelt most like it."""
    parent = path.parent
    if not parent.is_dir():
        return UserError(f"{path}: no such file or folder, and no folder {parent} either")
    near = nearest(path.name, [entry.name for entry in parent.iterdir()])
    return UserError(f"{path}: no such file or folder" + (f"; there is {parent / near}" if near else ""))


def is_saved(path: Path) -> bool:
    """Whether a folder is what `datasets.save_to_disk` writes."""
    return any((path / name).is_file() for name in _SAVED)


def read_saved(path: Path, split: str) -> datasets.Dataset:
    """The set (of a `DatasetDict`, the split) in a folder that `datasets.save_to_disk` wrote.

    Raises UserError, naming it, if it can't be read, has no such split or holds no rows.
    """
    split = _SPLITS.get(split, split)
    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:
        raise UserError(f"{path}: the saved data set can't be read: {root_cause(error)}") from error
    if isinstance(saved, datasets.DatasetDict):
        by_split = {_SPLITS.get(name, name): name for name in saved}
        if split not in by_split:
            raise UserError(f"{path}: no split '{split}'; found {', '.join(saved)}. Name a split as FOLDER@SPLIT")
        saved = saved[by_split[split]]
    elif split != "train":
        raise UserError(f"{path}@{split}: the saved data set is all one split, train; leave @{split} out")
    if len(saved) == 0:
        raise UserError(f"{path}: the saved data set holds no problems (0 rows)")
    return saved.flatten_indices() if saved._indices is not None else saved


def read_file(path: Path, keys: Keys) -> datasets.Dataset:
    """`read_rows` of a file in which every row should be readable: raises UserError for the others, too."""
    rows = read_rows(path, keys)
    raise_bad_rows(rows.bad, len(rows.dataset))
    return rows.dataset


class Rows(NamedTuple):
    """The table of a file, the rows that can't be read (nulls in it), and whether its cells are as they are written:
    a reader that guesses kinds, such as EasyR1's, would make the same of them.
    """

    dataset: datasets.Dataset
    bad: list[BadRow]
    as_written: bool


def read_rows(path: Path, keys: Keys) -> Rows:
    """Load one data file through `datasets`.

    Raises UserError, naming the file, if it can't be read as a whole or holds no rows.
    """
    kind = format_of(path) or path.suffix
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes)")
        rows = _READERS[kind](path, keys)
    except UserError:
        raise
    except Exception as error:  # `datasets` wraps what went wrong in errors of its own; the first one says it
        raise UserError(f"{path}: can't be read as {kind[1:]}: {root_cause(error)}") from error
    unread = len({fault.row for fault in rows.bad})
    if unread and unread >= len(rows.dataset):  # a table of nothing but nulls, or of no columns at all
        raise_bad_rows(rows.bad, unread)
    if len(rows.dataset) == 0:
        raise UserError(f"{path}: the file holds no problems (0 rows)")
    return rows


def root_cause(error: BaseException) -> str:
    """The message of the error that started a chain of them, with its kind."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {shorten(str(error), 400)}" if str(error) else type(error).__name__


def _read_parquet(path: Path, keys: Keys) -> Rows:
    if pq.read_metadata(path).num_rows == 0:  # `datasets` trips over a file without rows
        raise UserError(f"{path}: the file holds no problems (0 rows)")
    return Rows(_load("parquet", path), [], True)


def _read_arrow(path: Path, keys: Keys) -> Rows:
    return Rows(_load("arrow", path), [], True)


def _load(builder: str, path: Path) -> datasets.Dataset:
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(builder, data_files=str(path), split="train")
    finally:
        if shown:
            datasets.enable_progress_bars()


def _read_csv(path: Path, keys: Keys) -> Rows:
    data = _bytes_of(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8: {error}") from error
    return Rows(*read_csv(path, text), as_written=False)


def _read_json(path: Path, keys: Keys) -> Rows:
    table, bad, as_written = read_json(path, _bytes_of(path), keys)
    return Rows(datasets.Dataset(table), bad, as_written)


def _bytes_of(path: Path) -> bytes:
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            return file.read()
    return path.read_bytes()


_READERS = {
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_csv,
}
