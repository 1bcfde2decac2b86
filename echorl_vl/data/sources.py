"""Load problems from any place (`opening`) in one format, and check every row."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from echorl_vl.data.bad_rows import LISTED_AT_START, BadRow, handle_bad_rows, raise_bad_rows
from echorl_vl.data.checks import check_columns, check_rows
from echorl_vl.data.columns import answer_text, column_names, pick_columns, root_of, value_at
from echorl_vl.data.messages import Chat, is_messages, is_text, read_chat, read_reply, reply_column, split_column
from echorl_vl.data.opening import SourceTable, flatten_chats, open_place
from echorl_vl.data.problem import Problems, SourceRows
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
    """`read_problems`, with an error ("error") or a message to ``note`` ("drop") for rows that can't be used."""
    keys = Keys(prompt_key, answer_key, image_key, video_key, demonstration_key)
    problems = read_problems(spec, keys, image_dir, videos)
    handle_bad_rows(problems.bad_rows, problems.total, bad_rows, note)
    return problems.select(range(len(problems))) if problems.bad_rows else problems


def read_problems(
    spec: str | Sequence[str], keys: Keys, image_dir: str | Path | None = None, videos: bool = False
) -> Problems:
    """Load a set of problems and check every row, without decoding images.

    A place is one of these:
    - a file: parquet, jsonl, json, csv or arrow, the text formats also as .gz
    - a pattern of files, or a folder of files (FOLDER@SPLIT for one split)
    - a folder that `datasets.save_to_disk` wrote
    - a data set of the hub, such as "hiyouga/geometry3k@train"
    - a registered generator: "generated/geometry3k@train", "generated/arithmetic@train"

    The split defaults to train. Questions are text or chat messages: one of the user, optionally after a system message
    and before an assistant message, which is not part of the question. Messages may have parts and contain the images.
    If an answer is a chat, it is the last reply. If every answer of a file is a solution in GSM8K's format, with a last
    line ``#### 72``, the answer is the text after the signs.

    Args:
        spec: one or more places, as a list or separated by commas.
        keys: names of the columns. A dot leads into a nested column (``reward_model.ground_truth``). A set without
            images needs no column of images. For demonstrations see `echorl_vl.data.demonstrations`.
        image_dir: folder of relative paths of images. None: the working directory, or else the data file's folder.
        videos: the engine reads videos, so rows may have them.

    Returns:
        The problems of usable rows. `Problems.bad_rows` has the others.

    Raises:
        UserError: a source can't be read, its columns are invalid, or no row can be used.
    """
    if image_dir is not None and not Path(image_dir).is_dir():
        raise UserError(f"{image_dir}: no such folder ({setting('data.image_dir')})")
    places = split_places(spec)
    if not places:
        raise UserError("no data set: set data.train_files and data.val_files")
    parts: list[SourceRows] = []
    bad: list[BadRow] = []
    names: list[str] = []
    for place in places:
        for source in open_place(place, keys):
            if source.name in names:
                raise UserError(f"{source.name}: listed twice in {', '.join(places)}; expected each file once")
            names.append(source.name)
            part, faults = _check(source, keys, image_dir, videos)
            parts.append(part if len(places) == 1 else replace(part, matches_file=False))
            bad += faults
    source = ", ".join(places)
    if not bad:
        return Problems(source, parts)
    left_out = {(fault.source, fault.row) for fault in bad}
    rows = [(name, row) for name, part in zip(names, parts, strict=True) for row in range(part.size)]
    if len(left_out) == len(rows):
        raise_bad_rows(bad, len(rows), LISTED_AT_START)
    return Problems(source, parts, [index for index, row in enumerate(rows) if row not in left_out], bad)


def _check(
    source: SourceTable, keys: Keys, image_dir: str | Path | None, videos: bool
) -> tuple[SourceRows, list[BadRow]]:
    """Check the table of a source. Returns its rows, and the bad ones."""
    name, bad = source.name, list(source.bad)
    dataset, faults = flatten_chats(source.dataset, keys)
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
    known = {fault.row for fault in bad}  # already reported, and null in the table
    bad += [fault for fault in check_rows(table, name, keys, reader.locate, videos) if fault.row not in known]
    nested = any("." in key for key in (keys.prompt, keys.answer, keys.image))
    matches_file = source.matches_file and not (
        chats or replies or solutions or nested or _would_change(table.column("answer"))
    )
    return SourceRows(len(rows), reader, matches_file, name), sorted(bad, key=lambda fault: fault.row)


def _would_change(answers: pa.ChunkedArray) -> bool:
    """Whether a reader that guesses types would turn text answers into dates, or lose digits of them."""
    if not is_text(answers.type):
        return False
    return bool(pc.any(pc.match_substring_regex(answers, r"^\d{4}-\d\d-\d\d|^[+-]?(\d\.?){16,}([eE].*)?$")).as_py())


class _RowReader:
    """Reads a row of a table as a Problem. The images are not decoded."""

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
        """The file for the path of an image."""
        path = local_path(path)
        if self.image_dir is not None:
            return os.path.join(self.image_dir, path)
        if self.folder is None or os.path.isfile(path):
            return path
        in_folder = os.path.join(self.folder, path)
        return in_folder if os.path.exists(in_folder) else path

    def _image(self, image: Any) -> ImageSource:
        if isinstance(image, dict):
            image = image.get("bytes") or image.get("path") or b""
        return self.locate(image) if isinstance(image, str) else image
