"""Chat messages in a column, [{role, content}, ...]: one question, optionally with a system message and an answer.

Content is text or a list of parts ({type: text, text}, {type: image}, {type: image_url, image_url: {url}}). Messages
may have ShareGPT's format ({from: human, value}). `flatten` turns all of these into messages with text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from echorl_vl.data.templates import IMAGE, VIDEO
from echorl_vl.errors import shorten

EXPECTED = "one user message, optionally after a system message and before an assistant message"
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}  # ShareGPT's names
_TEXTS = ("text", "input_text", "output_text")
_IMAGES = ("image", "image_url", "input_image")
_VIDEOS = ("video", "video_url", "input_video")


@dataclass(frozen=True)
class Chat:
    """A conversation of one turn. ``system`` and ``reply`` are None if there is no such message."""

    question: str
    system: str | None = None
    reply: str | None = None


class FlatChat(NamedTuple):
    """Messages with text, which has `<image>` in the place of an image, and the images that they contain."""

    messages: list[dict[str, str | None]]
    images: list[Any]


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type has text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_messages(kind: pa.DataType) -> bool:
    """Whether a column of this type has messages with text content."""
    fields = _message_fields(kind)
    return all(name in fields and is_text(fields[name]) for name in ("role", "content"))


def is_chat(value: Any) -> bool:
    """Whether a cell is a list of objects, which may be messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(message, Mapping) for message in value)


def needs_flattening(kind: pa.DataType) -> bool:
    """Whether a column of this type has messages in another format that `flatten` reads."""
    fields = _message_fields(kind)
    return bool({"role", "from"} & set(fields)) and bool({"content", "value"} & set(fields)) and not is_messages(kind)


def flatten(messages: Sequence[Mapping[str, Any]]) -> FlatChat:
    """Messages with text content. Raises ValueError, with an explanation, for an invalid message."""
    flat, images = [], []
    for message in messages:
        if not {"role", "from"} & set(message):
            raise ValueError(f"expected messages {{role, content}}, got {describe_value(message)}")
        role = message.get("role") if message.get("role") is not None else message.get("from")
        role = _ROLES.get(role, role)
        content = message.get("content") if message.get("content") is not None else message.get("value")
        text, its_images = _read_content(content)
        if role != "user" and (its_images or (isinstance(content, list) and IMAGE in (text or ""))):
            raise ValueError(f"has an image in the {role} message; expected images only in the user message")
        flat.append({"role": role, "content": text})
        images += its_images
    return FlatChat(flat, images)


def flatten_columns(chats: Sequence[Any], images: Sequence[Any]) -> tuple[list[Any], list[Any], list[tuple[int, str]]]:
    """Flatten the chats of a column.

    Args:
        chats: cells of the column. Cells that are not lists of objects are unchanged.
        images: images of each row, or any true value if the row has some.

    Returns:
        The flat chats, None for invalid ones; the images, with those of the chats; (row, fault) of invalid chats.
    """
    flat, gathered, faults = list(chats), list(images), []
    for row, chat in enumerate(chats):
        if not is_chat(chat):
            continue
        try:
            flat[row], brought = flatten(chat)
            if brought and images[row]:
                raise ValueError(
                    "has images both in its messages and in the column of images; expected them in one place"
                )
            if brought:
                gathered[row] = brought
        except ValueError as error:
            flat[row] = None
            faults.append((row, str(error)))
    return flat, gathered, faults


def read_chat(messages: Sequence[Mapping[str, Any]]) -> Chat:
    """The conversation. Raises ValueError, with an explanation, unless it has one turn (see ``EXPECTED``)."""
    roles = [message.get("role") for message in messages]
    by_role = {role: message.get("content") for role, message in zip(roles, messages, strict=True)}
    # Earlier turns are part of the question, so they can't be left out.
    in_order = [role for role in ("system", "user", "assistant") if role in by_role]
    if "user" not in by_role or roles != in_order:
        found = ", ".join(map(str, roles)) or "none"
        raise ValueError(f"has messages with the roles {found}; expected {EXPECTED}")
    system = by_role.get("system")
    return Chat(by_role["user"] or "", system if system and system.strip() else None, by_role.get("assistant"))


def read_reply(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Content of the last message if it is the assistant's, else None."""
    last = messages[-1] if messages else {}
    return last.get("content") if last.get("role") == "assistant" else None


def split_column(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, list[tuple[int, str]]]:
    """The questions as a column of text, null for missing ones, and (row, fault) of invalid chats."""
    questions: list[str | None] = []
    faults: list[tuple[int, str]] = []
    for row, messages in enumerate(column.to_pylist()):
        question = None
        if messages is not None:
            try:
                question = read_chat(messages).question
            except ValueError as error:
                faults.append((row, str(error)))
                # Not empty, so that the row is not reported twice.
                question = "?"
        questions.append(question)
    return pa.chunked_array([pa.array(questions, pa.string())]), faults


def reply_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The last reply of each chat as a column of text, null for missing ones."""
    replies = [None if chat is None else read_reply(chat) for chat in column.to_pylist()]
    return pa.chunked_array([pa.array(replies, pa.string())])


def _message_fields(kind: pa.DataType) -> dict[str, pa.DataType]:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        return {}
    return {field.name: field.type for field in kind.value_type}


def _read_content(content: Any) -> tuple[str | None, list[Any]]:
    """Text and images of a message's content."""
    if content is None or isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise ValueError(f"has a message whose content is {describe_value(content)}; expected text or a list of parts")
    texts, images = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _TEXTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in _IMAGES:
            texts.append(IMAGE)
            if (source := _image(part)) is not None:
                images.append(source)
        elif kind in _VIDEOS:
            texts.append(VIDEO)
        else:
            raise ValueError(f"has a part {describe_value(part)}; expected {{type: text, text}} or {{type: image}}")
    return "".join(texts), images


def _image(part: Mapping[str, Any]) -> Any:
    """The image of a part: a path, or a dictionary with bytes or path. None if the part is only a placeholder."""
    source = next((part[key] for key in ("image", "image_url", "url", "path") if part.get(key)), None)
    if isinstance(source, Mapping) and "url" in source:
        source = source["url"]
    return source or None


def describe_value(value: Any) -> str:
    """Type and shortened value of a cell, for messages."""
    return f"{type(value).__name__} {shorten(str(value), 60)}"
