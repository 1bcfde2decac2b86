"""Files of problems: the files of a path, and a table from each, in any supported format."""

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
_PACKED = (".jsonl", ".json", ".csv")  # also with .gz
_SAVED = ("state.json", "dataset_dict.json")  # `datasets` adds one of these to a set that it saves
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test"} | {
    name: "validation" for name in ("validation", "valid", "val", "dev")
}


def format_of(path: Path) -> str | None:
    """The suffix of a file that tells its format, one of ``SUFFIXES``, without .gz; None for any other."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        inner = Path(path.stem).suffix.lower()
        return inner if inner in _PACKED else None
    return suffix if suffix in SUFFIXES else None


def find_files(path: Path, split: str) -> list[Path]:
    """The data files of a split, sorted by name.

    The split of a file in a folder is a word of its path (train-00000.parquet, test/part.jsonl; val, valid and dev also
    mean validation). If no path names a split, all files are train.

    Args:
        path: a file or folder.
        split: name of the split.

    Raises:
        UserError: there are no files, or files of several formats.
    """
    split = _SPLITS.get(split, split)
    if path.is_file():
        if format_of(path) is None:
            raise UserError(f"{path}: unknown format '{path.suffix}'; expected {', '.join(SUFFIXES)}")
        if split != "train":
            raise UserError(f"{path}@{split}: a single file has one split, train; remove @{split}")
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: not a regular file (a device or pipe); expected a file or folder of problems")
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and format_of(file)]
    files = [file for file in files if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)]
    if not files:
        raise UserError(f"{path}: the folder has no data files ({', '.join(SUFFIXES)})")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(file.relative_to(path)) or "", []).append(file)
    if set(by_split) == {""}:
        by_split = {"train": files}
    if split not in by_split:
        found = ", ".join(f"{name or 'no split'}: {len(some)} file(s)" for name, some in sorted(by_split.items()))
        raise UserError(f"{path}: no files of the split '{split}', only {found}. Choose a split with FOLDER@SPLIT")
    suffixes = sorted({format_of(file) for file in by_split[split]})
    if len(suffixes) > 1:
        raise UserError(
            f"{path}: the folder has files of several formats ({', '.join(suffixes)}): list the files instead"
        )
    return by_split[split]


def split_of(path: Path) -> str | None:
    """The split that a word of ``path`` names, in the file name or else in a folder; None if there is none."""
    for part in (path.stem, *reversed(path.parent.parts)):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return None


def missing_path(path: Path) -> UserError:
    """The error for a path that does not exist, with the most similar name in its folder."""
    parent = path.parent
    if not parent.is_dir():
        return UserError(f"{path}: no such file or folder, and no folder {parent} either")
    near = nearest(path.name, [entry.name for entry in parent.iterdir()])
    return UserError(f"{path}: no such file or folder" + (f"; did you mean {parent / near}?" if near else ""))


def is_saved(path: Path) -> bool:
    """Whether `datasets.save_to_disk` wrote a folder."""
    return any((path / name).is_file() for name in _SAVED)


def read_saved(path: Path, split: str) -> datasets.Dataset:
    """Load the split of a folder that `datasets.save_to_disk` wrote.

    Raises:
        UserError: it can't be read, has no such split, or is empty.
    """
    split = _SPLITS.get(split, split)
    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:
        raise UserError(f"{path}: the saved data set can't be read: {root_cause(error)}") from error
    if isinstance(saved, datasets.DatasetDict):
        by_split = {_SPLITS.get(name, name): name for name in saved}
        if split not in by_split:
            raise UserError(f"{path}: no split '{split}'; it has {', '.join(saved)}. Choose a split with FOLDER@SPLIT")
        saved = saved[by_split[split]]
    elif split != "train":
        raise UserError(f"{path}@{split}: the saved data set has one split, train; remove @{split}")
    if len(saved) == 0:
        raise UserError(f"{path}: the saved data set has no problems (0 rows)")
    return saved.flatten_indices() if saved._indices is not None else saved


def read_file(path: Path, keys: Keys) -> datasets.Dataset:
    """`read_rows`, but raise UserError for bad rows, too."""
    rows = read_rows(path, keys)
    raise_bad_rows(rows.bad, len(rows.dataset))
    return rows.dataset


class FileTable(NamedTuple):
    """The table of a file.

    Attributes:
        dataset: the rows, with nulls for bad ones.
        bad: rows that can't be read.
        matches_file: a reader that guesses types, such as EasyR1's, reads the same values.
    """

    dataset: datasets.Dataset
    bad: list[BadRow]
    matches_file: bool


def read_rows(path: Path, keys: Keys) -> FileTable:
    """Load one data file.

    Raises:
        UserError: the file can't be read at all, or has no rows.
    """
    kind = format_of(path) or path.suffix
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes)")
        rows = _READERS[kind](path, keys)
    except UserError:
        raise
    except Exception as error:  # `datasets` wraps the original error, which says what is wrong
        raise UserError(f"{path}: can't be read as {kind[1:]}: {root_cause(error)}") from error
    unread = len({fault.row for fault in rows.bad})
    if unread and unread >= len(rows.dataset):  # a table of nulls only, or without columns
        raise_bad_rows(rows.bad, unread)
    if len(rows.dataset) == 0:
        raise UserError(f"{path}: the file has no problems (0 rows)")
    return rows


def root_cause(error: BaseException) -> str:
    """Type and message of the first error in a chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {shorten(str(error), 400)}" if str(error) else type(error).__name__


def _read_parquet(path: Path, keys: Keys) -> FileTable:
    if pq.read_metadata(path).num_rows == 0:  # `datasets` fails for a file without rows
        raise UserError(f"{path}: the file has no problems (0 rows)")
    return FileTable(_load("parquet", path), [], True)


def _read_arrow(path: Path, keys: Keys) -> FileTable:
    return FileTable(_load("arrow", path), [], True)


def _load(builder: str, path: Path) -> datasets.Dataset:
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(builder, data_files=str(path), split="train")
    finally:
        if shown:
            datasets.enable_progress_bars()


def _read_csv(path: Path, keys: Keys) -> FileTable:
    data = _bytes_of(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8: {error}") from error
    return FileTable(*read_csv(path, text), matches_file=False)


def _read_json(path: Path, keys: Keys) -> FileTable:
    table, bad, matches_file = read_json(path, _bytes_of(path), keys)
    return FileTable(datasets.Dataset(table), bad, matches_file)


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
