"""Columns of a table: by their key, where a dot leads into a nested one (`reward_model.ground_truth`), and of one kind.

Cells of JSON rows are brought to one kind for each column, as a table has one: text beside chats, numbers beside text.
A number with a point keeps the text of its literal, as a float would change an answer of many digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from echorl_vl.data.messages import is_chat, kind_and_value, read_reply


def root_of(key: str, columns: Sequence[str]) -> str | None:
    """The column of the file that ``key`` is in; None if there is none. A column with a dot in its name goes first."""
    return next((name for name in (key, key.partition(".")[0]) if name in columns), None)


def column_names(schema: pa.Schema) -> list[str]:
    """Names of the columns, and after them the dotted keys of what is nested in them."""
    nested = [path for field in schema for path in _nested(field)]
    return [*schema.names, *nested]


def pick_columns(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """A table with a column named ``key`` for each key that leads to one; the other keys are left out."""
    columns = {key: _find(table, key) for key in keys}
    return pa.table({key: column for key, column in columns.items() if column is not None})


def value_at(row: Mapping[str, Any], key: str) -> Any:
    """What ``key`` leads to in one row; None if it leads nowhere."""
    if key in row:
        return row[key]
    value: Any = row
    for name in key.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


class Literal(float):
    """A number of a JSON file that remembers its ``text``."""

    text: str

    def __new__(cls, text: str) -> Literal:
        """The number that ``text`` spells."""
        self = super().__new__(cls, text)
        self.text = text
        return self


def answer_text(value: Any) -> str:
    """A reference answer as text: a float that is a whole number without its ".0", text as it is."""
    literal = value.text if isinstance(value, Literal) else None
    if isinstance(value, float) and value.is_integer():
        text = str(int(value))
        if literal is None or Decimal(literal) == Decimal(text):
            return text
    return str(value) if literal is None else literal


def prompts_of_one_kind(values: Sequence[Any]) -> list[Any]:
    """Text in a column of chats as one user's message; without chats, an empty list as nothing."""
    if any(map(is_chat, values)):
        return [[{"role": "user", "content": value}] if isinstance(value, str) else value for value in values]
    return [None if value == [] else value for value in values]


def answers_of_one_kind(values: Sequence[Any]) -> list[Any]:
    """Text, where one is text or a number with a point: other numbers, and the assistant's last words of a chat."""
    present = [value for value in values if value is not None]
    if all(map(is_chat, present)) or not any(isinstance(value, str | Literal) or is_chat(value) for value in present):
        return list(values)
    return [None if value is None else read_reply(value) if is_chat(value) else answer_text(value) for value in values]


def demonstrations_of_one_kind(values: Sequence[Any]) -> list[Any]:
    """Text where some are text and some are chats, whose last words are the demonstration; what is neither is none."""
    if not any(isinstance(value, str) for value in values):
        return [None if value == [] else value for value in values]
    return [read_reply(value) if is_chat(value) else value if isinstance(value, str) else None for value in values]


def to_array(values: Sequence[Any]) -> tuple[pa.Array, list[tuple[int, str]]]:
    """(the column, with nulls for the cells of another kind than the first one; (row, what is wrong) of those)."""
    try:
        return pa.array(values), []
    except (pa.ArrowException, TypeError, OverflowError):
        first = next(index for index, value in enumerate(values) if value not in (None, []))
    expected = f"and row {first} {kind_and_value(values[first])}; expected one kind in the column"
    faults = [
        (row, f"holds {kind_and_value(value)}, {expected}")
        for row, value in enumerate(values)
        if not _fit(values[first], value)
    ]
    odd = {row for row, _ in faults}
    return pa.array([None if row in odd else value for row, value in enumerate(values)]), faults


def _find(table: pa.Table, key: str) -> pa.ChunkedArray | None:
    if key in table.column_names:
        return table.column(key)
    first, *names = key.split(".")
    if first not in table.column_names:
        return None
    column = table.column(first)
    for name in names:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(name) < 0:
            return None
        column = pc.struct_field(column, name)
    return column


def _nested(field: pa.Field) -> list[str]:
    if not pa.types.is_struct(field.type):
        return []
    inner = [child.with_name(f"{field.name}.{child.name}") for child in field.type]
    return [path for child in inner for path in (child.name, *_nested(child))]


def _fit(first: Any, value: Any) -> bool:
    try:
        pa.array([first, value])
    except (pa.ArrowException, TypeError, OverflowError):
        return False
    return True
