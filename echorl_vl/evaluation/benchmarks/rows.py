"""Read the cells of a row. A missing or invalid cell raises a UserError that names file, row and column.

Where a function takes several column names, it reads the first of these columns that has a value.
"""

from __future__ import annotations

import math
import os
import re
from typing import Any

from echorl_vl.data.columns import answer_text
from echorl_vl.data.templates import IMAGE
from echorl_vl.errors import UserError, shorten
from echorl_vl.evaluation.benchmarks.base import Row
from echorl_vl.places import is_url, unsupported_url


def cell(row: Row, *names: str) -> Any:
    """Return the value of a column; None if there is none."""
    return next((row.values[name] for name in names if row.values.get(name) is not None), None)


def text(row: Row, *names: str) -> str:
    """Return the text in a column. Raises UserError if it is empty or not text."""
    value = cell(row, *names)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{row.where}, {' or '.join(names)}: expected text, got {_show(value)}")
    return value.strip()


def answer(row: Row, *names: str) -> str:
    """Return the ground truth as text, a float with an integer value without its ".0".

    Unlike the other functions it reads the first column that the file has, even if it is null.

    Raises:
        UserError: there is no answer.
    """
    value = next((row.values[name] for name in names if name in row.values), None)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise UserError(f"{row.where}, {' or '.join(names)}: expected an answer, got {_show(value)}")
    return answer_text(value).strip()


def whole_number(row: Row, name: str) -> int:
    """Return an integer, given as a number or as text. Raises UserError for anything else."""
    value = cell(row, name)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or number != number // 1:
        raise UserError(f"{row.where}, {name}: expected a whole number, got {_show(value)}")
    return int(number)


def letter(row: Row, name: str, choices: int) -> str:
    """Return a ground truth that is the letter of one of `choices` choices. Raises UserError for anything else."""
    found = answer(row, name).upper()
    if len(found) != 1 or not 0 <= ord(found) - ord("A") < choices:
        raise UserError(f"{row.where}, {name}: expected the letter of one of {choices} choices, got {_show(found)}")
    return found


def uid(row: Row, *names: str) -> str:
    """Return the benchmark's id of the question, or the row number if the file has no ids."""
    value = cell(row, *names)
    return str(row.number if value is None else value)


def key(row: Row, name: str) -> str:
    """Return the name of the set that a question belongs to. Raises UserError if there is none."""
    found = label(row, name)
    if found is None:
        raise UserError(f"{row.where}, {name}: expected the set that the question belongs to, got nothing")
    return found


def label(row: Row, *names: str) -> str | None:
    """Return a subject or level as text; None if there is none."""
    value = cell(row, *names)
    return None if value is None or not str(value).strip() else str(value).strip()


def image(row: Row, *names: str) -> bytes | str:
    """Return the bytes of an image, or the path of its file, relative to the data file or to its folder `images`.

    Raises:
        UserError: there is no image, it is a URL, or its file does not exist.
    """
    value = cell(row, *names)
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    where = f"{row.where}, {' or '.join(names)}"
    if isinstance(value, bytes) and value:
        return value
    if not isinstance(value, str) or not value:
        raise UserError(f"{where}: the image is missing")
    if is_url(value):
        raise UserError(f"{where}: {unsupported_url(value, 'save the image to a file and give its path')}")
    places = [os.path.join(row.folder, part, value) for part in ("", "images")] if row.folder else [value]
    found = next((place for place in places if os.path.isfile(place)), None)
    if found is None:
        raise UserError(f"{where}: image file {shorten(places[0])} does not exist")
    return found


def with_image(question: str) -> str:
    """Return the question with exactly one `<image>`.

    A single marker such as `<image1>` is replaced; without a marker `<image>` comes first. Several markers refer to
    parts of one image: `<image>` comes first, and the markers become `[picture 1]`, `[picture 2]`, ...
    """
    markers = re.findall(r"<image\d+>", question)
    if len(markers) == 1:
        return question.replace(markers[0], IMAGE)
    question = re.sub(r"<image(\d+)>", r"[picture \1]", question).replace(IMAGE, "[picture]")
    return f"{IMAGE}\n{question}"


def _show(value: Any) -> str:
    return "nothing" if value is None or value == "" else shorten(repr(value), 80)
