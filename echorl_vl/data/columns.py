"""Columns by their key, where a dot leads into a nested one: `reward_model.ground_truth`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


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
