"""Columns of a table by key, where a dot leads into a nested column (`reward_model.ground_truth`), and their types.

A column of a table has one type, so the cells of a JSON file are converted where they differ: text and chats, numbers
and text. A number with a decimal point keeps its text, since a float would lose digits of a long answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from echorl_vl.data.messages import describe_value, is_chat, read_reply


def root_of(key: str, columns: Sequence[str]) -> str | None:
    """The column of the file that contains ``key``, None if there is none. A column named ``key`` takes priority."""
    return next((name for name in (key, key.partition(".")[0]) if name in columns), None)


def column_names(schema: pa.Schema) -> list[str]:
    """Names of the columns, followed by the dotted keys of nested columns."""
    nested = [path for field in schema for path in _nested(field)]
    return [*schema.names, *nested]


def pick_columns(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """A table with a column for each key that exists, named like the key."""
    columns = {key: _find(table, key) for key in keys}
    return pa.table({key: column for key, column in columns.items() if column is not None})


def value_at(row: Mapping[str, Any], key: str) -> Any:
    """The value of ``key`` in a row, None if it does not exist."""
    if key in row:
        return row[key]
    value: Any = row
    for name in key.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


class FloatLiteral(float):
    """A number of a JSON file that keeps its ``text``."""

    text: str

    def __new__(cls, text: str) -> FloatLiteral:
        """Parse ``text``."""
        self = super().__new__(cls, text)
        self.text = text
        return self


def answer_text(value: Any) -> str:
    """A reference answer as text: a whole float without its ".0", text unchanged."""
    literal = value.text if isinstance(value, FloatLiteral) else None
    if isinstance(value, float) and value.is_integer():
        text = str(int(value))
        if literal is None or Decimal(literal) == Decimal(text):
            return text
    return str(value) if literal is None else literal


def unify_prompts(values: Sequence[Any]) -> list[Any]:
    """Convert text to a user message if the column has chats; else convert empty lists to None."""
    if any(map(is_chat, values)):
        return [[{"role": "user", "content": value}] if isinstance(value, str) else value for value in values]
    return [None if value == [] else value for value in values]


def unify_answers(values: Sequence[Any]) -> list[Any]:
    """Convert numbers and chats (to their last reply) to text if any answer is text or has a decimal point."""
    present = [value for value in values if value is not None]
    if all(map(is_chat, present)) or not any(
        isinstance(value, str | FloatLiteral) or is_chat(value) for value in present
    ):
        return list(values)
    return [None if value is None else read_reply(value) if is_chat(value) else answer_text(value) for value in values]


def unify_demonstrations(values: Sequence[Any]) -> list[Any]:
    """Convert chats to their last reply if any demonstration is text; anything else becomes None."""
    if not any(isinstance(value, str) for value in values):
        return [None if value == [] else value for value in values]
    return [read_reply(value) if is_chat(value) else value if isinstance(value, str) else None for value in values]


def to_array(values: Sequence[Any]) -> tuple[pa.Array, list[tuple[int, str]]]:
    """The column with null for cells of another type than the first one, and (row, fault) for these."""
    try:
        return pa.array(values), []
    except (pa.ArrowException, TypeError, OverflowError):
        first = next(index for index, value in enumerate(values) if value not in (None, []))
    expected = f"but row {first} has {describe_value(values[first])}; expected one type in the column"
    faults = [
        (row, f"has {describe_value(value)}, {expected}")
        for row, value in enumerate(values)
        if not _fit(values[first], value)
    ]
    odd = {row for row, _ in faults}
    return pa.array([None if row in odd else value for row, value in enumerate(values)]), faults


def _find(table: pa.Table, key: str) -> pa.ChunkedArray | None:
    if key in table.column_names:
        return table.column(key)
    root, *path = key.split(".")
    try:
        return pc.struct_field(table.column(root), path)
    except (KeyError, pa.ArrowException):  # no such column, no such field in it
        return None


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
