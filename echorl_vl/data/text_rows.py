"""Rows of JSON and csv files as a table. Read here: readers that guess column types turn answers into dates, and stop
at a row.

A row that can't be read is a `BadRow`, whatever is wrong with it: half a line, a key twice, a lone surrogate, NaN, a
field too many. Every cell of a csv file stays the text that it is: an answer of 007 must not become a number.
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
    Literal,
    answers_of_one_kind,
    demonstrations_of_one_kind,
    prompts_of_one_kind,
    to_array,
    value_at,
)
from echorl_vl.data.messages import flatten_columns, is_chat, kind_and_value
from echorl_vl.errors import UserError, counted, shorten
from echorl_vl.types import Keys

MAX_DEPTH = 60
"""Levels of lists and objects in a row; Arrow takes a few more."""
_SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'"}
_LONGEST = 2**31 - 1  # characters of a cell; the reader's own limit is 131,072


class _Repeated:
    """Stands for an object that has ``key`` twice."""

    def __init__(self, key: str):
        self.key = key


_JSON_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:]')


class _RowFault(Exception):
    """(field, what is wrong with it)."""


def read_json(path: Path, data: bytes, keys: Keys) -> tuple[pa.Table, list[BadRow], bool]:
    """JSON lines, or one list of objects; the rows that can't be used (nulls in the table); whether cells are as they
    stand in the file, or some were brought to the kind of the others (`cells`).

    Whole numbers of more digits than 64 bits hold become text. Raises UserError for a file that is no JSON as a whole.
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
    # A nested column that is used is taken out here: what stands beside it may be of mixed kinds.
    names += [
        key for key in used_keys(keys) if key not in names and any(value_at(row, key) is not None for row in rows)
    ]
    columns = {name: [value_at(row, name) for row in rows] for name in names}
    given = {key: columns[key] for key in (keys.prompt, keys.answer) if key in columns}
    if keys.prompt in columns:
        columns[keys.prompt] = prompts_of_one_kind(columns[keys.prompt])
    for key in dict.fromkeys((keys.prompt, keys.answer, keys.demonstration)):
        if key in columns and any(is_chat(value) for value in columns[key]):
            images = columns.get(keys.image) or [None] * len(rows)
            columns[key], images, faults = flatten_columns(columns[key], images)
            if key != keys.demonstration:  # one with a fault is a missing one, which data.bad_traces is about
                bad += [BadRow(str(path), row, key, reason) for row, reason in faults]
            if key == keys.prompt and any(images):
                columns[keys.image], faults = _paths(images)
                bad += [BadRow(str(path), row, key, reason) for row, reason in faults]
    # One column may be two of these: a chat that holds question and answer stays one.
    shared = keys.answer in (keys.prompt, keys.demonstration)
    if keys.answer in columns and not (shared and any(map(is_chat, columns[keys.answer]))):
        columns[keys.answer] = answers_of_one_kind(columns[keys.answer])
    if keys.demonstration in columns and keys.demonstration not in (keys.prompt, keys.answer):
        columns[keys.demonstration] = demonstrations_of_one_kind(columns[keys.demonstration])
    if any(isinstance(value, list | dict) for value in columns.get(keys.image, ())):
        columns[keys.image] = [None if value is None else _images(value) for value in columns[keys.image]]
    if any(isinstance(value, list) for value in columns.get(keys.video, ())):
        videos = columns[keys.video]
        columns[keys.video] = [value if value is None or isinstance(value, list) else [value] for value in videos]
    as_written = all(columns[key] == values for key, values in given.items())
    arrays = {}
    for name, values in columns.items():
        arrays[name], faults = to_array(values) if name in used_keys(keys) else (_any_kind(values), [])
        if name != keys.demonstration:
            bad += [BadRow(str(path), row, name, reason) for row, reason in faults]
    return pa.table(arrays), bad, as_written


def read_csv(path: Path, text: str) -> tuple[datasets.Dataset, list[BadRow]]:
    """The table, in which every cell is text, and the rows that are no csv or have a field too many (nulls in it).

    Fields that a row lacks at its end are nulls. Raises UserError for a header with a name twice, or with other
    separators than commas.
    """
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str | None]] = []
    bad: list[BadRow] = []
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UserError(f"{path}, line 1: not csv: {error}") from error
    _check_header(path, header)
    while True:
        line, fault = reader.line_num + 1, ""
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            row, fault = [], f"not csv: {error}"
        if not row and not fault:  # an empty line
            continue
        if len(row) > len(header):
            fault = f"has {counted(len(row), 'field')}, expected {len(header)}: a field with a comma in it needs quotes"
        if fault:
            bad.append(BadRow(str(path), len(rows), f"line {line}", fault))
            row = []
        rows.append([*row, *[None] * (len(header) - len(row))])
    columns = {name: [row[index] for row in rows] for index, name in enumerate(header)}
    features = datasets.Features({name: datasets.Value("string") for name in header})
    return datasets.Dataset.from_dict(columns, features=features), bad


def used_keys(keys: Keys) -> list[str]:
    """The columns that are read, without repeats."""
    return [key for key in dict.fromkeys((keys.prompt, keys.answer, keys.image, keys.video, keys.demonstration)) if key]


def _parse(path: Path, data: bytes) -> Iterator[tuple[Any, tuple[str, str] | None]]:
    """(row, None) or (None, (field, what is wrong)) for each row."""
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
    """The key of a row whose value is nested too deeply to be parsed; "" where the row is no object."""
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
    """The rows of one list (or one object); None for JSON lines under the name .json."""
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
    if not isinstance(whole, dict | _Repeated) or (
        isinstance(whole, dict) and any(isinstance(value, list) for value in whole.values())
    ):
        raise UserError(f"{path}: expected a list of problems or one problem a line, got {_short(whole)}")
    return [whole]


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object, parse_int=_whole_number, parse_float=_float)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeated:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        return _Repeated(next(name for name in names if names.count(name) > 1))
    return result


def _whole_number(text: str) -> int | str:
    return int(text) if len(text) <= 18 else text  # 64 bits hold it, and so does every column of numbers


def _float(text: str) -> float | str:
    value = Literal(text)
    return value if math.isfinite(value) else text  # 1e999


def _check_row(row: Any, keys: Keys) -> None:
    """Raises _RowFault for a row that is no object, or whose fields are not of the kinds that are read."""
    if isinstance(row, _Repeated):
        raise _RowFault(row.key, "the key stands twice in the row; expected it once")
    if not isinstance(row, dict):
        raise _RowFault("", f"expected an object with the problem's fields, got {_short(row)}")
    for name, value in row.items():
        _check_nesting(name, value)
    for key in used_keys(keys):
        value = value_at(row, key)
        if _has_surrogate(value):
            raise _RowFault(key, "holds half a character (a lone surrogate, \\ud800 to \\udfff); expected valid text")
        if value is None:
            continue
        if key == keys.prompt and not (isinstance(value, str) or value == [] or is_chat(value)):
            raise _RowFault(key, f"expected text or chat messages, got {_short(value)}")
        if key == keys.answer and not _is_answer(value):
            raise _RowFault(key, f"expected text or a number, got {_short(value)}")
        if key == keys.image and not _are_paths(value):
            raise _RowFault(key, f"expected paths of pictures, got {_short(value)}")


def _check_nesting(name: str, value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if repeated := next((inner for inner in level if isinstance(inner, _Repeated)), None):
            raise _RowFault(name, f"has the key '{repeated.key}' twice in one object; expected it once")
        if not level:
            return
    raise _RowFault(name, f"nested too deeply; expected at most {MAX_DEPTH} levels")


def _inside(value: Any) -> list[Any]:
    """The lists and objects directly in a value; an object with a fault stands for itself."""
    if isinstance(value, _Repeated):
        return [value]
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return [each for each in inner if isinstance(each, list | dict | _Repeated)]


def _is_answer(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return (isinstance(value, str | int) and not isinstance(value, bool)) or is_chat(value)


def _paths(images: list[Any]) -> tuple[list[Any], list[tuple[int, str]]]:
    """(images of each row, None for those of a row that are no paths; (row, what is wrong))."""
    faults = [
        (row, f"expected paths of pictures, got {_short(cell)}")
        for row, cell in enumerate(images)
        if cell is not None and not _are_paths(cell)
    ]
    wrong = {row for row, _ in faults}
    return [None if row in wrong else cell for row, cell in enumerate(images)], faults


def _are_paths(value: Any) -> bool:
    return all(image is None or isinstance(image, str) for image in _images(value))


def _images(value: Any) -> list[Any]:
    """The images of a cell; JSON has no bytes, so each should be a path, alone or in an object."""
    cells = value if isinstance(value, list) else [value]
    return [cell.get("path") or cell.get("url") or cell if isinstance(cell, dict) else cell for cell in cells]


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value) if not value.isascii() else False
    if isinstance(value, list | dict):
        return any(map(_has_surrogate, value.values() if isinstance(value, dict) else value))
    return False


def _any_kind(values: list[Any]) -> pa.Array:
    """A column that nothing here reads; as JSON text where it is of mixed kinds."""
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeEncodeError):
        return pa.array([json.dumps(value) for value in values])


def _short(value: Any) -> str:
    if isinstance(value, _Repeated):
        return f"an object with the key '{value.key}' twice"
    return kind_and_value(value)


def _check_header(path: Path, header: list[str]) -> None:
    if repeated := next((name for name in header if header.count(name) > 1), None):
        raise UserError(f"{path}, line 1: the column '{repeated}' stands twice; expected each name once")
    other = next((sign for sign in _SEPARATORS if len(header) == 1 and sign in header[0]), None)
    if other:
        raise UserError(
            f"{path}, line 1: the file seems to be separated by {_SEPARATORS[other]}; expected commas, with quotes "
            "around a field that has one in it"
        )
