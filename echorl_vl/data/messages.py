"""Chat messages, [{role, content}, ...], in a column: one question, perhaps with a system message and an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

WANTED = "one user message, perhaps with a system message before it and an assistant's after it"


@dataclass(frozen=True)
class Chat:
    """A conversation of one turn. ``system`` and ``reply`` are None where there is no such message."""

    question: str
    system: str | None = None
    reply: str | None = None


def is_messages(kind: pa.DataType) -> bool:
    """Whether a column of this type holds messages whose contents are text (or nothing at all)."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        return False
    fields = {field.name: field.type for field in kind.value_type}
    texts = [fields.get(name) for name in ("role", "content")]
    return all(t is not None and (pa.types.is_string(t) or pa.types.is_large_string(t)) for t in texts)


def read_chat(messages: Sequence[Mapping[str, Any]]) -> Chat:
    """The conversation. Raises ValueError, which says what was found, for any but one turn (see ``WANTED``)."""
    roles = [message.get("role") for message in messages]
    by_role = {role: message.get("content") for role, message in zip(roles, messages, strict=True)}
    # Earlier turns are part of what was asked: leaving them out would change the question.
    in_order = [role for role in ("system", "user", "assistant") if role in by_role]
    if "user" not in by_role or roles != in_order:
        found = ", ".join(map(str, roles)) or "none"
        raise ValueError(f"holds messages of the roles {found}; wanted {WANTED}")
    system = by_role.get("system")
    return Chat(by_role["user"] or "", system if system and system.strip() else None, by_role.get("assistant"))


def read_reply(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Content of the last message if it is the assistant's, else None."""
    last = messages[-1] if messages else {}
    return last.get("content") if last.get("role") == "assistant" else None


def split_column(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, list[tuple[int, str]]]:
    """(the questions as a column of text, null where there is none; (row, what is wrong) of the other rows)."""
    questions: list[str | None] = []
    faults: list[tuple[int, str]] = []
    for row, messages in enumerate(column.to_pylist()):
        question = None
        if messages is not None:
            try:
                question = read_chat(messages).question
            except ValueError as error:
                faults.append((row, str(error)))
                # Something that is not empty, so that the row is not reported twice.
                question = "?"
        questions.append(question)
    return pa.chunked_array([pa.array(questions, pa.string())]), faults
