"""Check the table of a set when it is loaded, by columns, before a model is loaded or an image decoded."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from echorl_vl.data.bad_rows import BadRow
from echorl_vl.data.messages import is_messages, is_text
from echorl_vl.data.templates import IMAGE, VIDEO
from echorl_vl.errors import UserError, counted, shorten
from echorl_vl.places import is_url, unsupported_url
from echorl_vl.types import Keys

_NO_VIDEO = "videos are not supported"
_CHATS = ("messages", "conversations", "conversation")
# Names that other data sets use. An error suggests one of these before a name with a similar spelling.
_USUAL_NAMES = {
    "prompt": ("problem", "question", "prompt", "query", "instruction", "input", *_CHATS),
    "answer": (
        "answer",
        "ground_truth",
        "final_answer",
        "reward_model.ground_truth",
        "target",
        "solution",
        "label",
    ),
    "image": ("images", "image", "image_path", "img", "picture"),
    "demonstration": ("solution", "trace", "target", "theorems", "response", "messages"),
}


@dataclass(frozen=True)
class ImageCells:
    """Contents of a column of images.

    Attributes:
        counts: (rows,) int64, number of images per row.
        faults: (row, reason) of invalid images.
        paths: (row, path) of images that are not in the table itself.
    """

    counts: np.ndarray
    faults: list[tuple[int, str]]
    paths: list[tuple[int, str]]


def check_columns(table: pa.Table, source: str, keys: Keys, columns: list[str]) -> None:
    """Check that the columns exist and have valid types.

    Args:
        table: the columns "prompt", "answer", "image", "video" and "demonstration", if the source has
            them. Chats are text.
        source: name of the source, for messages.
        keys: names of these columns in the source.
        columns: names of all columns of the source.

    Raises:
        UserError: a required column is missing, or a column has an invalid type.
    """
    needed = [role for role in ("prompt", "answer", "demonstration") if getattr(keys, role)]
    missing = [role for role in needed if role not in table.column_names]
    if missing:
        raise UserError(_missing_columns(columns, source, {role: getattr(keys, role) for role in missing}))
    _check_type(table, source, keys, "prompt", is_text, "text or chat messages of text ({role, content})")
    _check_type(table, source, keys, "answer", _is_text_or_number, "text or a number")
    if keys.demonstration is not None:
        kinds = "text, chat messages or a list of theorem calls"
        _check_type(table, source, keys, "demonstration", _is_demonstration_column, kinds)
    if "image" in table.column_names:
        _check_type(table, source, keys, "image", _is_image_column, "images: lists of {bytes, path}, or paths")
    else:
        with_image = int(pc.sum(pc.greater(_occurrences(table, IMAGE), 0)).as_py() or 0)
        if with_image:
            message = _missing_columns(columns, source, {"image": keys.image})
            raise UserError(f"{message} ({counted(with_image, 'row')} with {IMAGE} in '{keys.prompt}')")


def check_rows(
    table: pa.Table, source: str, keys: Keys, locate: Callable[[str], str], videos: bool = False
) -> list[BadRow]:
    """Every bad row of a table that passed `check_columns`.

    Args:
        locate: gives the file for the path of an image.
        videos: the engine reads videos, which are not checked.
    """
    bad: list[BadRow] = []

    def add(rows, field: str, reason: str) -> None:
        bad.extend(BadRow(source, int(row), field, reason) for row in rows)

    for role in ("prompt", "answer"):
        column, key = table.column(role), getattr(keys, role)
        empty = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
        if is_text(column.type):
            empty = pc.or_(empty, pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0), True))
        add(np.flatnonzero(empty.to_numpy()), key, "is empty or missing")
        if pa.types.is_floating(column.type):
            endless = pc.fill_null(pc.is_inf(column), False)
            add(np.flatnonzero(endless.to_numpy()), key, "is infinite; expected text or a finite number")

    if not videos:
        add(np.flatnonzero(_occurrences(table, VIDEO).to_numpy() > 0), keys.prompt, f"has {VIDEO}: {_NO_VIDEO}")
    if "video" in table.column_names and not videos:
        add(np.flatnonzero(_has_value(table.column("video"))), keys.video, f"has a video: {_NO_VIDEO}")
    if "image" in table.column_names:
        bad.extend(_check_images(table, source, keys, locate))
    return sorted(bad, key=lambda fault: fault.row)


def nearest(name: str, names: list[str]) -> str | None:
    """The name of ``names`` with the most similar spelling to ``name``, None if none is similar."""
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.6)), None)


def _check_images(table: pa.Table, source: str, keys: Keys, locate: Callable[[str], str]) -> list[BadRow]:
    cells = image_cells(table.column("image"))
    bad = [BadRow(source, row, keys.image, reason) for row, reason in cells.faults]
    faults: dict[str, str] = {}
    for row, path in cells.paths:
        if is_url(path):
            advice = "save the image to a file and give its path, or its bytes in a parquet file"
            bad.append(BadRow(source, row, keys.image, unsupported_url(path, advice)))
            continue
        file = locate(path)
        if file not in faults:
            faults[file] = _file_fault(file)
        if faults[file]:
            bad.append(BadRow(source, row, keys.image, faults[file]))

    placeholders = _occurrences(table, IMAGE).to_numpy()
    for row in np.flatnonzero(placeholders != cells.counts):
        found, images = int(placeholders[row]), int(cells.counts[row])
        if found == 0:
            reason = f"has no {IMAGE}, but '{keys.image}' has {images} image(s): add {IMAGE} where each image belongs"
        else:
            reason = f"has {found} {IMAGE}, but '{keys.image}' has {images} image(s)"
        bad.append(BadRow(source, int(row), keys.prompt, reason))
    return bad


def _file_fault(file: str) -> str:
    """Why a path can't be an image file; "" if it can."""
    if os.path.isfile(file):
        return ""
    if os.path.isdir(file):
        return f"{shorten(file)} is a folder; expected an image file"
    if os.path.exists(file):
        return f"{shorten(file)} is not a regular file; expected an image file"
    return f"image file {shorten(file)} does not exist"


def image_cells(column: pa.ChunkedArray) -> ImageCells:
    """Read a column of images without copying the images' bytes."""
    counts: list[np.ndarray] = []
    faults: list[tuple[int, str]] = []
    paths: list[tuple[int, str]] = []
    first_row = 0
    for chunk in column.chunks:
        if _is_list(chunk.type):
            lengths = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False).astype(np.int64)
            values = pc.list_flatten(chunk)
            rows = np.repeat(np.arange(len(chunk)), lengths)
        else:
            present = pc.is_valid(chunk).to_numpy(zero_copy_only=False)
            lengths, rows = present.astype(np.int64), np.flatnonzero(present)
            values = chunk.filter(pa.array(present))
        counts.append(lengths)
        for row, reason, path in _image_values(values, rows + first_row):
            faults.append((row, reason)) if reason else paths.append((row, path))
        first_row += len(chunk)
    return ImageCells(np.concatenate(counts) if counts else np.zeros(0, np.int64), faults, paths)


def _image_values(values: pa.Array, rows: np.ndarray) -> list[tuple[int, str, str]]:
    """(row, fault, "") or (row, "", path) for images without bytes in the table."""
    nothing = np.full(len(values), True)
    no_bytes, paths = nothing, [None] * len(values)
    if pa.types.is_struct(values.type):
        names = [field.name for field in values.type]
        if "bytes" in names and not pa.types.is_null(values.type.field("bytes").type):
            no_bytes = _is_blank(pc.struct_field(values, "bytes"))
        if "path" in names and not pa.types.is_null(values.type.field("path").type):
            paths = pc.struct_field(values, "path")
    elif is_text(values.type):
        paths = values
    elif _is_bytes(values.type):
        no_bytes = _is_blank(values)
    result = []
    for index in np.flatnonzero(no_bytes):
        path = paths[int(index)]
        path = path.as_py() if isinstance(path, pa.Scalar) else path
        reason = "" if path else "an image has neither bytes nor a path"
        result.append((int(rows[index]), reason, path or ""))
    return result


def _is_blank(values: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.equal(pc.binary_length(values), 0), True).to_numpy(zero_copy_only=False)


def _has_value(column: pa.ChunkedArray) -> np.ndarray:
    if _is_list(column.type):
        return pc.greater(pc.fill_null(pc.list_value_length(column), 0), 0).to_numpy()
    return pc.is_valid(column).to_numpy()


def _occurrences(table: pa.Table, placeholder: str) -> pa.ChunkedArray:
    column = table.column("prompt")
    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.array(np.zeros(len(column), np.int32))])
    return pc.fill_null(pc.count_substring(column, placeholder), 0)


def _missing_columns(columns: list[str], source: str, keys: dict[str, str]) -> str:
    """Error message for missing columns; ``keys`` are their names by role."""
    chat = next((name for name in _CHATS if name in columns), None)
    likely, unknown = [], []
    for role, key in keys.items():
        usual = next((name for name in _USUAL_NAMES[role] if name in columns), None)
        if role == "answer":  # the answer may be in the chat
            usual = usual or chat
        name, setting = usual or nearest(key, columns), f"data.{role}_key"
        likely.append(f"{setting}={name}") if name else unknown.append(setting)
    missing = " and ".join(f"no column '{key}' (data.{role}_key)" for role, key in keys.items())
    advice = [f"Did you mean {' and '.join(likely)}?"] if likely else []
    advice += [f"Set {setting} to one of these." for setting in unknown]
    return f"{source}: {missing}. It has the columns {', '.join(columns)}. {' '.join(advice)}"


def _check_type(
    table: pa.Table, source: str, keys: Keys, role: str, allowed: Callable[[pa.DataType], bool], expected: str
) -> None:
    found, key = table.schema.field(role).type, getattr(keys, role)
    if pa.types.is_null(found) or allowed(found):
        return
    nested = pa.types.is_struct(found) and role != "image"
    fields = [f"{key}.{field.name}" for field in found] if nested else []
    hint = f"; for a nested column, set data.{role}_key={' or '.join(fields)}" if fields else ""
    raise UserError(f"{source}: column '{key}' (data.{role}_key) has the type {found}; expected {expected}{hint}")


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text_or_number(kind: pa.DataType) -> bool:
    return is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_demonstration_column(kind: pa.DataType) -> bool:
    return is_text(kind) or is_messages(kind) or (_is_list(kind) and is_text(kind.value_type))


def _is_image_column(kind: pa.DataType) -> bool:
    value = kind.value_type if _is_list(kind) else kind
    if pa.types.is_struct(value):
        kinds = {field.name: field.type for field in value}
        bytes_kind, path_kind = kinds.get("bytes", pa.null()), kinds.get("path", pa.null())
        good_bytes = pa.types.is_null(bytes_kind) or _is_bytes(bytes_kind)
        good_path = pa.types.is_null(path_kind) or is_text(path_kind)
        return bool({"bytes", "path"} & set(kinds)) and good_bytes and good_path
    return is_text(value) or _is_bytes(value) or pa.types.is_null(value)
