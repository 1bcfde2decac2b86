"""Where problems come from: the hub, files of any kind, or this project's generator, all with one schema."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import datasets

from echorl_vl.data.bad_rows import BadRow, raise_bad_rows
from echorl_vl.data.checks import check_columns, check_rows
from echorl_vl.data.columns import column_names, pick_columns, root_of, value_at
from echorl_vl.data.files import SUFFIXES, answer_text, find_files, missing_path, read_file, root_cause
from echorl_vl.data.generated import GENERATED, load_generated
from echorl_vl.data.gsm8k import are_solutions, split_solution
from echorl_vl.data.messages import Chat, is_messages, read_chat, split_column
from echorl_vl.data.problem import Keys, Part, PictureSource, Problem, Problems
from echorl_vl.errors import UserError

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def load_problems(
    spec: str,
    prompt_key: str = "problem",
    answer_key: str = "answer",
    image_key: str = "images",
    image_dir: str | Path | None = None,
    video_key: str = "videos",
    videos: bool = False,
    trace_key: str | None = None,
) -> Problems:
    """Load a set of problems and check every row of it, without decoding a picture.

    ``spec`` is what EasyR1's ``data.train_files`` takes: a parquet, jsonl, json, csv or arrow file, a folder of such
    files (FOLDER@SPLIT for one split), a data set of the hub ("hiyouga/geometry3k@train"); or
    "generated/geometry3k@train" and "generated/arithmetic@train" for the generators. The split is train where none is
    named. The pictures of a row are bytes, or paths relative to ``image_dir`` (else to the working directory, else to
    the data file's folder).
    A set without pictures needs no column of them. ``videos``: the engine reads videos, so a row may have some.

    A dot in a key leads into a nested column (``reward_model.ground_truth``). Questions are text or chat messages: a
    user's, perhaps with a system message before it and an assistant's after it, which is no part of the question.
    Where every answer of a file is a solution in GSM8K's form, ending in a line ``#### 72``, the answer is what follows
    the signs. ``trace_key`` names the column of worked solutions (see `echorl_vl.data.traces`).

    Raises UserError for whatever is wrong with the source, its columns or its rows, naming file, row and field.
    """
    keys = Keys(prompt_key, answer_key, image_key, video_key, trace_key)
    if image_dir is not None and not Path(image_dir).is_dir():
        raise UserError(f"{image_dir}: no such folder (data.image_dir)")
    parts: list[Part] = []
    bad: list[BadRow] = []
    for name, dataset, folder in _tables(spec, keys):
        rows = dataset.with_format("arrow")
        wanted = [key for key in (prompt_key, answer_key, image_key, video_key, trace_key) if key]
        roots = {root_of(key, rows.column_names) for key in wanted} - {None}
        table = pick_columns(rows.select_columns(sorted(roots))[:], wanted)
        chats = prompt_key in table.column_names and is_messages(table.schema.field(prompt_key).type)
        if chats:
            questions, faults = split_column(table.column(prompt_key))
            table = table.set_column(table.column_names.index(prompt_key), prompt_key, questions)
            bad.extend(BadRow(name, row, prompt_key, reason) for row, reason in faults)
        check_columns(table, name, keys, column_names(rows.features.arrow_schema))
        solutions = are_solutions(table.column(answer_key))
        reader = _RowReader(name, rows, keys, image_dir, folder, solutions)
        bad.extend(check_rows(table, name, keys, reader.locate, videos))
        nested = any("." in key for key in (prompt_key, answer_key, image_key))
        parts.append(Part(len(rows), reader, plain=not (chats or solutions or nested)))
    raise_bad_rows(bad, sum(part.size for part in parts))
    return Problems(spec, parts)


class _RowReader:
    """Reads one row of a table as a Problem; the pictures stay as they are, undecoded."""

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
        answer = answer_text(answer)
        images = [] if images is None else images if isinstance(images, list) else [images]
        used = (keys.prompt, keys.answer, keys.image)
        trace = None if keys.trace is None else root_of(keys.trace, list(row))
        return Problem(
            uid=f"{self.name}:{index}",
            question=chat.question,
            answer=split_solution(answer)[1] if self.solutions else answer,
            images=tuple(self._picture(image) for image in images),
            extra={name: value for name, value in row.items() if name == trace or name not in used},
            keys=keys,
            system=chat.system,
        )

    def locate(self, path: str) -> str:
        """The file that a picture's path means."""
        path = path.removeprefix("file://")
        if self.image_dir is not None:
            return os.path.join(self.image_dir, path)
        beside = None if self.folder is None else os.path.join(self.folder, path)
        return beside if beside is not None and not os.path.isfile(path) and os.path.isfile(beside) else path

    def _picture(self, image: Any) -> PictureSource:
        if isinstance(image, dict):
            image = image.get("bytes") or image.get("path") or b""
        return self.locate(image) if isinstance(image, str) else image


def _tables(spec: str, keys: Keys) -> list[tuple[str, datasets.Dataset, Path | None]]:
    """(name for messages, table, folder of the file if it is one) for each file of ``spec``."""
    if not spec or not spec.strip():
        raise UserError("no data set given: set data.train_files and data.val_files")
    place, split = spec, "train"
    if not Path(spec).expanduser().exists() and "@" in spec:
        place, _, split = spec.rpartition("@")
        if not place or not split:
            raise UserError(f"{spec}: wanted PLACE or PLACE@SPLIT, for example hiyouga/geometry3k@train")
    path = Path(place).expanduser()
    if place.startswith(GENERATED):
        return [(f"{place}@{split}", _generated(place, split), None)]
    if path.exists():
        return [(str(file), read_file(file, keys), file.parent) for file in find_files(path, split)]
    if _is_path(place):
        raise missing_path(path)
    return [(f"{place}@{split}", _from_hub(place, split), None)]


def _is_path(place: str) -> bool:
    """Whether a place that doesn't exist was meant as a path: the hub has no such ids, or its folder is here."""
    first = Path(place).parts[0]
    return (
        Path(place).suffix.lower() in SUFFIXES
        or place.startswith(("~", "."))
        or not _HUB_ID.fullmatch(place)
        or ("/" in place and Path(first).is_dir())
    )


def _generated(place: str, split: str) -> datasets.Dataset:
    try:
        return load_generated(place.removeprefix(GENERATED), split)
    except (KeyError, ValueError) as error:
        raise UserError(f"{place}@{split}: {error.args[0] if error.args else error}") from error


def _from_hub(name: str, split: str) -> datasets.Dataset:
    local = f"To use a local copy, give its path (a file {', '.join(SUFFIXES)} or a folder of them) instead of '{name}'"
    try:
        dataset = datasets.load_dataset(name, split=split)
    except ValueError as error:
        if "split" in str(error).lower():
            raise UserError(f"{name}@{split}: {error}") from error
        raise UserError(f"{name}@{split}: the hub's data set can't be loaded: {root_cause(error)}. {local}") from error
    except Exception as error:  # no network, no such data set, no access, a full disk: the hub's client has one each
        raise UserError(
            f"{name}@{split}: no file or folder of this name is here, and the Hugging Face hub did not give it "
            f"({root_cause(error)}). {local}"
        ) from error
    if len(dataset) == 0:
        raise UserError(f"{name}@{split}: the split holds no problems (0 rows)")
    return dataset
