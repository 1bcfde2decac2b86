"""Open the places where problems are, as tables: files, folders, data sets of the hub, and generated sources."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import pyarrow as pa

from echorl_vl.data.bad_rows import BadRow
from echorl_vl.data.columns import pick_columns, root_of
from echorl_vl.data.files import (
    SUFFIXES,
    find_files,
    is_saved,
    missing_path,
    read_rows,
    read_saved,
    root_cause,
)
from echorl_vl.data.generated import is_generated, load_generated
from echorl_vl.data.messages import flatten_columns, needs_flattening
from echorl_vl.errors import UserError
from echorl_vl.places import exists, is_url, matches, split_of_place, unsupported_url
from echorl_vl.types import Keys

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclass(frozen=True)
class SourceTable:
    """One table of problems.

    Attributes:
        name: of the file or split, for messages.
        dataset: the rows, with nulls for bad ones.
        folder: where relative paths of images may lead.
        bad: rows that can't be read.
        matches_file: EasyR1 reads the same values from the file. It does not for a csv file, whose answers it converts
            to numbers.
    """

    name: str
    dataset: datasets.Dataset
    folder: Path | None = None
    bad: tuple[BadRow, ...] = ()
    matches_file: bool = True


def open_place(place: str, keys: Keys) -> list[SourceTable]:
    """Open the tables of PLACE or PLACE@SPLIT. Raises UserError if there is none, or one can't be read."""
    if is_url(place):
        advice = "download the file and give its path; a data set of the Hugging Face hub is OWNER/NAME@SPLIT"
        raise UserError(unsupported_url(place, advice))
    name, split = split_of_place(place)
    if is_generated(name):
        return [SourceTable(f"{name}@{split}", load_generated(name, split))]
    if exists(name):
        return _open_path(Path(name).expanduser(), split, keys)
    if (found := matches(name)) is not None:
        if not found:
            raise UserError(f"{name}: no file matches this pattern")
        return [replace(source, matches_file=False) for path in found for source in _open_path(Path(path), split, keys)]
    if _is_path(name):
        raise missing_path(Path(name).expanduser())
    return [SourceTable(f"{name}@{split}", _from_hub(name, split))]


def flatten_chats(dataset: datasets.Dataset, keys: Keys) -> tuple[datasets.Dataset, list[tuple[int, str, str]]]:
    """Convert chats in any format to messages with text, and put their images into the column of images.

    Returns:
        The converted table, and (row, field, fault) of invalid chats.
    """
    faults: list[tuple[int, str, str]] = []
    for key in dict.fromkeys((keys.prompt, keys.answer, keys.demonstration)):
        root = None if key is None else root_of(key, dataset.column_names)
        picked = None if root is None else pick_columns(dataset.data.table.select([root]), [key])
        if picked is None or key not in picked.column_names or not needs_flattening(picked.schema.field(key).type):
            continue
        images = [None] * len(dataset)
        if keys.image in dataset.column_names:
            cells = dataset.data.table.column(keys.image)
            images = cells.is_valid().to_pylist()  # whether the row has images; the bytes are not copied
        chats, images, invalid = flatten_columns(picked.column(key).to_pylist(), images)
        faults += [(row, key, reason) for row, reason in invalid if key != keys.demonstration]
        table = _set_column(dataset.data.table, key, pa.array(chats))
        from_chats = [cell if isinstance(cell, list) else None for cell in images]
        if key == keys.prompt and any(from_chats):
            images = [None if cell is None else [_as_struct(image) for image in cell] for cell in from_chats]
            table = _set_column(table, keys.image, pa.array(images))
        dataset = datasets.Dataset(table.replace_schema_metadata(None))
    return dataset, faults


def _set_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values)


def _as_struct(image: object) -> dict[str, object]:
    if isinstance(image, dict):
        return {"bytes": image.get("bytes"), "path": image.get("path")}
    return {"bytes": None, "path": image}


def _open_path(path: Path, split: str, keys: Keys) -> list[SourceTable]:
    if path.is_dir() and is_saved(path):
        return [SourceTable(f"{path}@{split}", read_saved(path, split), path, matches_file=False)]
    sources = []
    for file in find_files(path, split):
        rows = read_rows(file, keys)
        matches_file = rows.matches_file and file.suffix.lower() != ".gz"
        sources.append(SourceTable(str(file), rows.dataset, file.parent, tuple(rows.bad), matches_file))
    return sources


def _is_path(place: str) -> bool:
    """Whether a place that does not exist is meant as a path: it is no id of the hub, or its folder exists."""
    first = Path(place).parts[0]
    return (
        Path(place).suffix.lower() in SUFFIXES
        or place.startswith(("~", "."))
        or not _HUB_ID.fullmatch(place)
        or ("/" in place and Path(first).is_dir())
    )


def _from_hub(name: str, split: str) -> datasets.Dataset:
    local = f"To use a local copy, give the path of a file ({', '.join(SUFFIXES)}) or folder instead of '{name}'"
    try:
        dataset = datasets.load_dataset(name, split=split)
    except ValueError as error:
        if "split" in str(error).lower():
            raise UserError(f"{name}@{split}: {error}") from error
        raise UserError(
            f"{name}@{split}: the data set can't be loaded from the hub: {root_cause(error)}. {local}"
        ) from error
    except Exception as error:  # no network, data set or access, a full disk: each has its own error
        raise UserError(
            f"{name}@{split}: there is no such file or folder, and it can't be loaded from the Hugging Face hub "
            f"({root_cause(error)}). {local}"
        ) from error
    if len(dataset) == 0:
        raise UserError(f"{name}@{split}: the split has no problems (0 rows)")
    return dataset
