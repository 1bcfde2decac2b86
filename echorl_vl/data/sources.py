"""Problems from wherever they are (`opening`), all with one schema, every row of them checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from echorl_vl.data.bad_rows import LISTED_AT_START, BadRow, raise_bad_rows, settle_bad_rows
from echorl_vl.data.checks import check_columns, check_rows
from echorl_vl.data.columns import answer_text, column_names, pick_columns, root_of, value_at
from echorl_vl.data.messages import Chat, is_messages, read_chat, read_reply, reply_column, split_column
from echorl_vl.data.opening import Source, open_place, with_plain_chats
from echorl_vl.data.problem import Part, Problems
from echorl_vl.data.solutions import are_solutions, split_solution
from echorl_vl.data.text_rows import used_keys
from echorl_vl.errors import UserError, setting
from echorl_vl.places import local_path, split_places
from echorl_vl.types import ImageSource, Keys, Problem


def load_problems(
    spec: str | Sequence[str],
    prompt_key: str = "problem",
    answer_key: str = "answer",
    image_key: str = "images",
    image_dir: str | Path | None = None,
    video_key: str = "videos",
    videos: bool = False,
    demonstration_key: str | None = None,
    bad_rows: str = "error",
    note: Callable[[str], None] = lambda line: None,
) -> Problems:
    """`read_problems`, and what becomes of rows that can't be used.

    With ``bad_rows`` "error" it raises UserError for them, with "drop" it leaves them out and tells ``note``.
    """
    keys = Keys(prompt_key, answer_key, image_key, video_key, demonstration_key)
    problems = read_problems(spec, keys, image_dir, videos)
    settle_bad_rows(problems.faults, problems.total, bad_rows, note)
    return problems.select(range(len(problems))) if problems.faults else problems


def read_problems(
    spec: str | Sequence[str], keys: Keys, image_dir: str | Path | None = None, videos: bool = False
) -> Problems:
    """Load a set of problems and check every row of it, without decoding an image.

    ``spec`` is one place or several, as a list or with commas between them. A place is a file (parquet, jsonl, json,
    csv, arrow; jsonl.gz and the like), a pattern of files, a folder of them (FOLDER@SPLIT for one split), a folder that
    `datasets.save_to_disk` wrote, a data set of the hub ("hiyouga/geometry3k@train"), or "generated/geometry3k@train"
    and "generated/arithmetic@train" for the generators. The split is train where none is named. The images of a row
    are bytes, or paths relative to ``image_dir`` (else to the working directory, else to the data file's folder).
    A set without images needs no column of them. ``videos``: the engine reads videos, so a row may have some.

    A dot in a key leads into a nested column (``reward_model.ground_truth``). Questions are text or chat messages: a
    user's, perhaps with a system message before it and an assistant's after it, which is no part of the question; the
    messages may be of parts, and bring the images themselves. An answer that is a chat is the assistant's last words.
    Where every answer of a file is a solution in GSM8K's form, ending in a line ``#### 72``, the answer is what follows
    the signs. ``keys.demonstration`` names the column of worked solutions (see `echorl_vl.data.demonstrations`).

    Rows that can't be used are not among the problems; `Problems.faults` says what is wrong with them.

    Raises UserError for whatever is wrong with the source or its columns, and where no row of the set can be used.
    """
    if image_dir is not None and not Path(image_dir).is_dir():
        raise UserError(f"{image_dir}: no such folder ({setting('data.image_dir')})")
    places = split_places(spec)
    if not places:
        raise UserError("no data set given: set data.train_files and data.val_files")
    parts: list[Part] = []
    bad: list[BadRow] = []
    names: list[str] = []
    for place in places:
        for source in open_place(place, keys):
            if source.name in names:
                raise UserError(f"{source.name}: given twice in {', '.join(places)}; expected each file once")
            names.append(source.name)
            part, faults = _check(source, keys, image_dir, videos)
            parts.append(part if len(places) == 1 else replace(part, plain=False))
            bad += faults
    source = ", ".join(places)
    if not bad:
        return Problems(source, parts)
    left_out = {(fault.source, fault.row) for fault in bad}
    rows = [(name, row) for name, part in zip(names, parts, strict=True) for row in range(part.size)]
    if len(left_out) == len(rows):
        raise_bad_rows(bad, len(rows), LISTED_AT_START)
    return Problems(source, parts, [index for index, row in enumerate(rows) if row not in left_out], bad)


def _check(source: Source, keys: Keys, image_dir: str | Path | None, videos: bool) -> tuple[Part, list[BadRow]]:
    """The rows of a source as a part of a set, and those that can't be used."""
    name, bad = source.name, list(source.bad)
    dataset, faults = with_plain_chats(source.dataset, keys)
    bad += [BadRow(name, *fault) for fault in faults]
    rows = dataset.with_format("arrow")
    used = used_keys(keys)
    roots = {root_of(key, rows.column_names) for key in used} - {None}
    picked = pick_columns(rows.select_columns(sorted(roots))[:], used)
    roles = {role: getattr(keys, role) for role in ("prompt", "answer", "image", "video", "demonstration")}
    columns = {role: picked.column(key) for role, key in roles.items() if key in picked.column_names}
    chats = "prompt" in columns and is_messages(columns["prompt"].type)
    if chats:
        columns["prompt"], faults = split_column(columns["prompt"])
        bad += [BadRow(name, row, keys.prompt, reason) for row, reason in faults]
    replies = "answer" in columns and is_messages(columns["answer"].type)
    if replies:
        columns["answer"] = reply_column(columns["answer"])
    table = pa.table(columns)
    check_columns(table, name, keys, column_names(rows.features.arrow_schema))
    solutions = are_solutions(table.column("answer"))
    reader = _RowReader(name, rows, keys, image_dir, source.folder, solutions)
    known = {fault.row for fault in bad}  # said to be wrong already, and null in the table
    bad += [fault for fault in check_rows(table, name, keys, reader.locate, videos) if fault.row not in known]
    nested = any("." in key for key in (keys.prompt, keys.answer, keys.image))
    plain = source.plain and not (chats or replies or solutions or nested or _changes(table.column("answer")))
    return Part(len(rows), reader, plain, name), sorted(bad, key=lambda fault: fault.row)


def _changes(answers: pa.ChunkedArray) -> bool:
    """Whether a reader that guesses types would make dates of answers that are text, or lose digits of them."""
    if not (pa.types.is_string(answers.type) or pa.types.is_large_string(answers.type)):
        return False
    return bool(pc.any(pc.match_substring_regex(answers, r"^\d{4}-\d\d-\d\d|^[+-]?(\d\.?){16,}([eE].*)?$")).as_py())


class _RowReader:
    """Reads one row of a table as a Problem; the images stay as they are, undecoded."""

    def __init__(
        self,
        name: str,
        rows: datasets.Dataset,
        keys: Keys,
        image_dir: str | Path | None,
        folder: Path | None,
        solutions: bool,
    ):
        self.name = name
        self.rows = rows
        self.keys = keys
        self.image_dir = image_dir
        self.folder = folder
        self.solutions = solutions

    def __call__(self, index: int) -> Problem:
        row = self.rows[index].to_pylist()[0]
        keys = self.keys
        question, answer, images = (value_at(row, key) for key in (keys.prompt, keys.answer, keys.image))
        chat = Chat(question) if isinstance(question, str) else read_chat(question)
        answer = (read_reply(answer) or "") if isinstance(answer, list) else answer_text(answer)
        images = [] if images is None else images if isinstance(images, list) else [images]
        used = (keys.prompt, keys.answer, keys.image)
        demonstration = None if keys.demonstration is None else root_of(keys.demonstration, list(row))
        return Problem(
            uid=f"{self.name}:{index}",
            question=chat.question,
            answer=split_solution(answer)[1] if self.solutions else answer,
            images=tuple(self._image(image) for image in images),
            extra={name: value for name, value in row.items() if name == demonstration or name not in used},
            keys=keys,
            system=chat.system,
        )

    def locate(self, path: str) -> str:
        """The file that an image's path means."""
        path = local_path(path)
        if self.image_dir is not None:
            return os.path.join(self.image_dir, path)
        extra_sections = None if self.folder is None else os.path.join(self.folder, path)
        return (
            extra_sections
            if extra_sections is not None and not os.path.isfile(path) and os.path.exists(extra_sections)
            else path
        )

    def _image(self, image: Any) -> ImageSource:
        if isinstance(image, dict):
            image = image.get("bytes") or image.get("path") or b""
        return self.locate(image) if isinstance(image, str) else image
