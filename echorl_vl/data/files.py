"""Files of problems: which files a path names, and a table from each, whatever its format."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow as pa
import pyarrow.parquet as pq

from echorl_vl.data.checks import nearest
from echorl_vl.data.columns import value_at
from echorl_vl.data.problem import Keys
from echorl_vl.errors import UserError, shorten

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".arrow")
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test"} | {
    name: "validation" for name in ("validation", "valid", "val", "dev")
}


def find_files(path: Path, split: str) -> list[Path]:
    """The data files that ``path`` (a file or a folder) holds for ``split``, in order of their names.

    In a folder a file belongs to the split that a word of its path names (train-00000.parquet, test/part.jsonl, with
    the usual other names: val, valid and dev for validation). Where no name tells, everything is train.
    Raises UserError if there are none, or of several formats.
    """
    split = _SPLITS.get(split, split)
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{path}: '{path.suffix}' is no format of problems; wanted {', '.join(SUFFIXES)}")
        if split != "train":
            raise UserError(f"{path}@{split}: a single file is all one split, train; leave @{split} out")
        return [path]
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix.lower() in SUFFIXES]
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
    suffixes = sorted({file.suffix.lower() for file in by_split[split]})
    if len(suffixes) > 1:
        raise UserError(f"{path}: files of several formats ({', '.join(suffixes)}): give one of the files")
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


def read_file(path: Path, keys: Keys) -> datasets.Dataset:
    """Load one data file through `datasets`. Raises UserError, naming it, if it can't be read or holds no rows."""
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty (0 bytes)")
        dataset = _READERS[path.suffix.lower()](path, keys)
    except UserError:
        raise
    except Exception as error:  # `datasets` wraps what went wrong in errors of its own; the first one says it
        raise UserError(f"{path}: can't be read as {path.suffix[1:]}: {root_cause(error)}") from error
    if len(dataset) == 0:
        raise UserError(f"{path}: the file holds no problems (0 rows)")
    return dataset


def root_cause(error: BaseException) -> str:
    """The message of the error that started a chain of them, with its kind."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {shorten(str(error), 400)}" if str(error) else type(error).__name__


def _read_parquet(path: Path, keys: Keys) -> datasets.Dataset:
    if pq.read_metadata(path).num_rows == 0:  # `datasets` trips over a file without rows
        raise UserError(f"{path}: the file holds no problems (0 rows)")
    return _load("parquet", path)


def _read_arrow(path: Path, keys: Keys) -> datasets.Dataset:
    return _load("arrow", path)


def _load(builder: str, path: Path) -> datasets.Dataset:
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(builder, data_files=str(path), split="train")
    finally:
        if shown:
            datasets.enable_progress_bars()


def _read_csv(path: Path, keys: Keys) -> datasets.Dataset:
    # Everything stays the text that it is in the file: an answer of 1.50 or 007 must not become a number on the way.
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    return datasets.Dataset.from_pandas(frame, preserve_index=False)


def _read_json(path: Path, keys: Keys) -> datasets.Dataset:
    """JSON lines, or one list of objects. Read here, since readers that guess column types turn answers into dates."""
    text = path.read_text(encoding="utf-8-sig")
    rows = _parse_json(text, path)
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {index}: wanted an object with the problem's fields, found {_short(row)}")
        for key, allowed in ((keys.prompt, str | list), (keys.answer, str | int | float)):
            value = value_at(row, key)
            if value is not None and (not isinstance(value, allowed) or isinstance(value, bool)):
                wanted = "text or chat messages" if key == keys.prompt else "text or a number"
                raise UserError(f"{path}, row {index}, {key}: wanted {wanted}, found {_short(value)}")
    names = list(dict.fromkeys(name for row in rows for name in row))
    # A nested column that is used is taken out here: what stands beside it may be of mixed kinds.
    names += [
        key for key in _read_keys(keys) if key not in names and any(value_at(row, key) is not None for row in rows)
    ]
    columns = {name: _json_column([value_at(row, name) for row in rows], name, keys) for name in names}
    return datasets.Dataset(pa.table(columns))


def _parse_json(text: str, path: Path) -> list[Any]:
    if path.suffix.lower() == ".json":
        try:
            whole = json.loads(text)
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":  # JSON lines under the name .json
                raise UserError(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
        else:
            if isinstance(whole, list):
                return whole
            if not isinstance(whole, dict) or any(isinstance(value, list) for value in whole.values()):
                raise UserError(f"{path}: wanted a list of problems or one problem a line, found {_short(whole)}")
            return [whole]
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}, column {error.colno}: not JSON: {error.msg}") from error
    return rows


def _json_column(values: list[Any], name: str, keys: Keys) -> pa.Array:
    if name == keys.answer and any(isinstance(value, str) for value in values):
        values = [value if value is None else answer_text(value) for value in values]
    if name == keys.image and any(isinstance(value, list) for value in values):
        values = [value if value is None or isinstance(value, list) else [value] for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeEncodeError):
        if name in _read_keys(keys):
            raise
        # A column of mixed kinds that nothing here reads is kept as JSON text.
        return pa.array([json.dumps(value) for value in values])


def _read_keys(keys: Keys) -> list[str]:
    return [key for key in (keys.prompt, keys.answer, keys.image, keys.video, keys.trace) if key is not None]


def answer_text(value: Any) -> str:
    """A reference answer as text: a float that is a whole number without its ".0", text as it is."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _short(value: Any) -> str:
    return f"{type(value).__name__} {shorten(str(value), 60)}"


_READERS = {
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_csv,
}
