"""Rows of csv files as a table. Every cell stays the text that it is: an answer of 007 must not become a number.

A row that does not fit the header is a `BadRow`.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import datasets

from echorl_vl.data.bad_rows import BadRow
from echorl_vl.errors import UserError, counted

_SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'"}
_LONGEST = 2**31 - 1  # characters of a cell; the reader's own limit is 131,072


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


def _check_header(path: Path, header: list[str]) -> None:
    if repeated := next((name for name in header if header.count(name) > 1), None):
        raise UserError(f"{path}, line 1: the column '{repeated}' stands twice; expected each name once")
    other = next((sign for sign in _SEPARATORS if len(header) == 1 and sign in header[0]), None)
    if other:
        raise UserError(
            f"{path}, line 1: the file seems to be separated by {_SEPARATORS[other]}; expected commas, with quotes "
            "around a field that has one in it"
        )
