"""Read the rows of JSON and csv files into a table.

Other readers guess types, which turns answers into dates or numbers, and stop at the first invalid row. Here an invalid
row is a `BadRow`: a truncated line, a duplicate key, a lone surrogate, NaN, a field too many. Each cell of a csv file
stays text: an answer of 007 does not become a number.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from echorl_vl.data.bad_rows import BadRow
from echorl_vl.data.columns import (
    FloatLiteral,
    to_array,
    unify_answers,
    unify_demonstrations,
    unify_prompts,
    value_at,
)
from echorl_vl.data.messages import describe_value, flatten_columns, is_chat
from echorl_vl.errors import UserError, counted, shorten
from echorl_vl.types import Keys

MAX_DEPTH = 60
"""Levels of lists and objects in a row; Arrow supports a few more."""
_SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'"}
_LONGEST = 2**31 - 1  # characters of a cell; the default limit is 131,072


class _DuplicateKey:
    """Replaces an object that has ``key`` twice."""

    def __init__(self, key: str):
        self.key = key


_JSON_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:]')


class _RowFault(Exception):
    """Arguments: the field, and what is invalid about it."""


def read_json(path: Path, data: bytes, keys: Keys) -> tuple[pa.Table, list[BadRow], bool]:
    """Read JSON lines, or one list of objects.

    Integers that do not fit into 64 bits become text.

    Args:
        path: of the file, for messages.
        data: its contents.
        keys: names of the columns.

    Returns:
        The table, with nulls for bad rows; the bad rows; and whether no question or answer was converted.

    Raises:
        UserError: the file as a whole is not valid JSON.
    """
    rows: list[dict[str, Any]] = []
    bad: list[BadRow] = []
    for index, (row, fault) in enumerate(_parse(path, data)):
        try:
            if fault:
                raise _RowFault(*fault)
            _check_row(row, keys)
        except _RowFault as error:
            bad.append(BadRow(str(path), index, *error.args))
            row = dict.fromkeys(row) if isinstance(row, dict) else {}
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    # Nested columns that are used become columns here, as their neighbours may have mixed types.
    names += [
        key for key in used_keys(keys) if key not in names and any(value_at(row, key) is not None for row in rows)
    ]
    columns = {name: [value_at(row, name) for row in rows] for name in names}
    given = {key: columns[key] for key in (keys.prompt, keys.answer) if key in columns}
    if keys.prompt in columns:
        columns[keys.prompt] = unify_prompts(columns[keys.prompt])
    for key in dict.fromkeys((keys.prompt, keys.answer, keys.demonstration)):
        if key in columns and any(is_chat(value) for value in columns[key]):
            images = columns.get(keys.image) or [None] * len(rows)
            columns[key], images, faults = flatten_columns(columns[key], images)
            if key != keys.demonstration:  # an invalid one is missing, which data.bad_traces handles
                bad += [BadRow(str(path), row, key, reason) for row, reason in faults]
            if key == keys.prompt and any(images):
                columns[keys.image], faults = _paths(images)
                bad += [BadRow(str(path), row, key, reason) for row, reason in faults]
    # A column of chats may have both question and answer, and is not converted to answers then.
    shared = keys.answer in (keys.prompt, keys.demonstration)
    if keys.answer in columns and not (shared and any(map(is_chat, columns[keys.answer]))):
        columns[keys.answer] = unify_answers(columns[keys.answer])
    if keys.demonstration in columns and keys.demonstration not in (keys.prompt, keys.answer):
        columns[keys.demonstration] = unify_demonstrations(columns[keys.demonstration])
    if any(isinstance(value, list | dict) for value in columns.get(keys.image, ())):
        columns[keys.image] = [None if value is None else _images(value) for value in columns[keys.image]]
    if any(isinstance(value, list) for value in columns.get(keys.video, ())):
        videos = columns[keys.video]
        columns[keys.video] = [value if value is None or isinstance(value, list) else [value] for value in videos]
    matches_file = all(columns[key] == values for key, values in given.items())
    arrays = {}
    for name, values in columns.items():
        arrays[name], faults = to_array(values) if name in used_keys(keys) else (_any_kind(values), [])
        if name != keys.demonstration:
            bad += [BadRow(str(path), row, name, reason) for row, reason in faults]
    return pa.table(arrays), bad, matches_file


def read_csv(path: Path, text: str) -> tuple[datasets.Dataset, list[BadRow]]:
    """Read a csv file with text cells. Missing fields at the end of a row are null.

    Returns:
        The table, with nulls for bad rows, and the bad rows: invalid csv, or too many fields.

    Raises:
        UserError: the header is invalid csv, has a name twice, or has other separators than commas.
    """
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str | None]] = []
    bad: list[BadRow] = []
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UserError(f"{path}, line 1: invalid csv: {error}") from error
    _check_header(path, header)
    while True:
        line, fault = reader.line_num + 1, ""
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            row, fault = [], f"invalid csv: {error}"
        if not row and not fault:  # an empty line
            continue
        if len(row) > len(header):
            fault = (
                f"has {counted(len(row), 'field')}, expected {len(header)}: a field that contains a comma needs quotes"
            )
        if fault:
            bad.append(BadRow(str(path), len(rows), f"line {line}", fault))
            row = []
        rows.append([*row, *[None] * (len(header) - len(row))])
    columns = {name: [row[index] for row in rows] for index, name in enumerate(header)}
    features = datasets.Features({name: datasets.Value("string") for name in header})
    return datasets.Dataset.from_dict(columns, features=features), bad


def used_keys(keys: Keys) -> list[str]:
    """Names of the used columns, without duplicates."""
    return [key for key in dict.fromkeys((keys.prompt, keys.answer, keys.image, keys.video, keys.demonstration)) if key]


def _parse(path: Path, data: bytes) -> Iterator[tuple[Any, tuple[str, str] | None]]:
    """Yield (row, None) or (None, (field, fault)) for each row."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if Path(path.name.removesuffix(".gz")).suffix.lower() == ".json":
        whole = _parse_whole(path, data)
        if whole is not None:
            yield from ((row, None) for row in whole)
            return
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield _parse_line(line, f"line {number}")


def _parse_line(line: bytes, where: str) -> tuple[Any, tuple[str, str] | None]:
    try:
        return _loads(line.decode("utf-8")), None
    except UnicodeDecodeError as error:
        return None, (where, f"not UTF-8: {shorten(str(error))}")
    except json.JSONDecodeError as error:
        return None, (where, f"not JSON: {error.msg} (column {error.colno})")
    except RecursionError:
        key = _deep_key(line.decode("utf-8")) or where
        return None, (key, f"nested too deeply; expected at most {MAX_DEPTH} levels")


def _deep_key(text: str) -> str:
    """The key whose value is nested too deeply to be parsed; "" if the row is not an object."""
    depth, last, key = 0, "", ""
    for token in _JSON_TOKENS.findall(text):
        if token in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return key
        elif token in "]}":
            depth -= 1
        elif token == ":" and depth == 1:
            key = last[1:-1]
        else:
            last = token
    return key


def _parse_whole(path: Path, data: bytes) -> list[Any] | None:
    """The rows of one list or object; None for JSON lines in a file named .json."""
    try:
        whole = _loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line {data[: error.start].count(10) + 1}: not UTF-8: {error}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply; expected at most {MAX_DEPTH} levels") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return None
        raise UserError(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    if isinstance(whole, list):
        return whole
    if not isinstance(whole, dict | _DuplicateKey) or (
        isinstance(whole, dict) and any(isinstance(value, list) for value in whole.values())
    ):
        raise UserError(f"{path}: expected a list of problems or one problem per line, got {_short(whole)}")
    return [whole]


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_int=_whole_number, parse_float=_float)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _DuplicateKey:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        return _DuplicateKey(next(name for name in names if names.count(name) > 1))
    return result


def _whole_number(text: str) -> int | str:
    return int(text) if len(text) <= 18 else text  # fits into 64 bits, and so into every column of numbers


def _float(text: str) -> float | str:
    value = FloatLiteral(text)
    return value if math.isfinite(value) else text  # 1e999


def _check_row(row: Any, keys: Keys) -> None:
    """Raise _RowFault for a row that is not an object, or has a field of an invalid type."""
    if isinstance(row, _DuplicateKey):
        raise _RowFault(row.key, "duplicate key in the row; expected it once")
    if not isinstance(row, dict):
        raise _RowFault("", f"expected an object with the problem's fields, got {_short(row)}")
    for name, value in row.items():
        _check_nesting(name, value)
    for key in used_keys(keys):
        value = value_at(row, key)
        if _has_surrogate(value):
            raise _RowFault(key, "has a lone surrogate (\\ud800 to \\udfff); expected valid text")
        if value is None:
            continue
        if key == keys.prompt and not (isinstance(value, str) or value == [] or is_chat(value)):
            raise _RowFault(key, f"expected text or chat messages, got {_short(value)}")
        if key == keys.answer and not _is_answer(value):
            raise _RowFault(key, f"expected text or a number, got {_short(value)}")
        if key == keys.image and not _are_paths(value):
            raise _RowFault(key, f"expected paths of images, got {_short(value)}")


def _check_nesting(name: str, value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if repeated := next((inner for inner in level if isinstance(inner, _DuplicateKey)), None):
            raise _RowFault(name, f"has a duplicate key '{repeated.key}' in one object; expected it once")
        if not level:
            return
    raise _RowFault(name, f"nested too deeply; expected at most {MAX_DEPTH} levels")


def _inside(value: Any) -> list[Any]:
    """The lists and objects directly in a value, or the value itself if it is an invalid object."""
    if isinstance(value, _DuplicateKey):
        return [value]
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return [each for each in inner if isinstance(each, list | dict | _DuplicateKey)]


def _is_answer(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return (isinstance(value, str | int) and not isinstance(value, bool)) or is_chat(value)


def _paths(images: list[Any]) -> tuple[list[Any], list[tuple[int, str]]]:
    """Images of each row, None for invalid ones, and (row, fault) of these."""
    faults = [
        (row, f"expected paths of images, got {_short(cell)}")
        for row, cell in enumerate(images)
        if cell is not None and not _are_paths(cell)
    ]
    invalid = {row for row, _ in faults}
    return [None if row in invalid else cell for row, cell in enumerate(images)], faults


def _are_paths(value: Any) -> bool:
    return all(image is None or isinstance(image, str) for image in _images(value))


def _images(value: Any) -> list[Any]:
    """The images of a cell. JSON has no bytes, so each should be a path, alone or in an object."""
    cells = value if isinstance(value, list) else [value]
    return [cell.get("path") or cell.get("url") or cell if isinstance(cell, dict) else cell for cell in cells]


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value) if not value.isascii() else False
    if isinstance(value, list | dict):
        return any(map(_has_surrogate, value.values() if isinstance(value, dict) else value))
    return False


def _any_kind(values: list[Any]) -> pa.Array:
    """An unused column, as JSON text if it has mixed types."""
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeEncodeError):
        return pa.array([json.dumps(value) for value in values])


def _short(value: Any) -> str:
    if isinstance(value, _DuplicateKey):
        return f"an object with the duplicate key '{value.key}'"
    return describe_value(value)


def _check_header(path: Path, header: list[str]) -> None:
    if repeated := next((name for name in header if header.count(name) > 1), None):
        raise UserError(f"{path}, line 1: duplicate column '{repeated}'; expected each name once")
    other = next((sign for sign in _SEPARATORS if len(header) == 1 and sign in header[0]), None)
    if other:
        raise UserError(
            f"{path}, line 1: the file seems to be separated by {_SEPARATORS[other]}; expected commas, and quotes "
            "around a field that contains one"
        )
