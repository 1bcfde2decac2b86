"""Cells of a row: the text, the answer, the picture. What is missing is an error that names file, row and column."""

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
    """The first of the columns that is there and not null; None without one."""
    return next((row.values[name] for name in names if row.values.get(name) is not None), None)


def text(row: Row, *names: str) -> str:
    """The text of the first of the columns that is there. Raises UserError where it is empty or no text."""
    value = cell(row, *names)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{row.where}, {' or '.join(names)}: expected text, got {_show(value)}")
    return value.strip()


def answer(row: Row, *names: str) -> str:
    """The ground truth as text, a whole float without its ".0", from the first of the columns that the file has.

    Raises UserError where there is none.
    """
    value = next((row.values[name] for name in names if name in row.values), None)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise UserError(f"{row.where}, {' or '.join(names)}: a question without an answer (found {_show(value)})")
    return answer_text(value).strip()


def whole_number(row: Row, name: str) -> int:
    """A whole number, as one or as text. Raises UserError for any other."""
    value = cell(row, name)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or number != number // 1:
        raise UserError(f"{row.where}, {name}: expected a whole number, got {_show(value)}")
    return int(number)


def letter(row: Row, name: str, choices: int) -> str:
    """A ground truth that is the letter of one of `choices` choices. Raises UserError for any other."""
    found = answer(row, name).upper()
    if len(found) != 1 or not 0 <= ord(found) - ord("A") < choices:
        raise UserError(f"{row.where}, {name}: expected a letter of {choices} choices, got {_show(found)}")
    return found


def uid(row: Row, *names: str) -> str:
    """The benchmark's own id of the question; the number of the row where the file has none."""
    value = cell(row, *names)
    return str(row.number if value is None else value)


def key(row: Row, name: str) -> str:
    """The set that a question belongs to, as text. Raises UserError where there is none."""
    found = label(row, name)
    if found is None:
        raise UserError(f"{row.where}, {name}: expected the set that the question belongs to, got nothing")
    return found


def label(row: Row, *names: str) -> str | None:
    """A subject or level as text."""
    value = cell(row, *names)
    return None if value is None or not str(value).strip() else str(value).strip()


def picture(row: Row, *names: str) -> bytes | str:
    """The bytes of a picture, or the path of its file, from the first of the columns that is there.

    A path is looked up beside the data file. Raises UserError, naming the file, where there is no picture.
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
        raise UserError(f"{where}: the picture is missing")
    if is_url(value):
        raise UserError(f"{where}: {unsupported_url(value, 'save the picture to a file and give its path')}")
    places = [os.path.join(row.folder, part, value) for part in ("", "images")] if row.folder else [value]
    found = next((place for place in places if os.path.isfile(place)), None)
    if found is None:
        raise UserError(f"{where}: picture file {shorten(places[0])} does not exist")
    return found


def with_picture(question: str) -> str:
    """The question with one `<image>`, put first where it has none. A marker `<image1>` of its own stands for it.

    Where a question has several markers, they are parts of one picture: the picture comes first, and they are named.
    """
    markers = re.findall(r"<image\d+>", question)
    if len(markers) == 1:
        return question.replace(markers[0], IMAGE)
    question = re.sub(r"<image(\d+)>", r"[picture \1]", question).replace(IMAGE, "[picture]")
    return f"{IMAGE}\n{question}"


def _show(value: Any) -> str:
    return "nothing" if value is None or value == "" else shorten(repr(value), 80)
