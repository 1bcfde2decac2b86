"""The folder of one benchmark below `--out`: settings, questions, responses, grades and the result."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError, shorten
from echorl_vl.evaluation.benchmarks.base import Question, from_record, records_sha256
from echorl_vl.evaluation.generation.base import Response
from echorl_vl.evaluation.generation.store import ResponseStore
from echorl_vl.evaluation.settings import check_same
from echorl_vl.outputs.atomic import write_text
from echorl_vl.outputs.lock import FolderInUse, FolderLock

Keys = Mapping[str, type | tuple[type, ...]]
"""Required keys of a JSON object and their types; a dot separates nested keys: {"settings.samples": int}."""

_SETTINGS: Keys = {
    "settings": dict,
    "settings.samples": int,
    "settings.size": int,
    "settings.questions_sha256": str,
    "about": dict,
}
_NAMES = {dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number", type(None): "null"}


class BenchmarkFolder:
    """Paths and files of one benchmark's evaluation.

    settings.json describes how the responses were sampled: `settings` have to be the same when the evaluation is
    resumed; `about` (path of the model, machine, time) may differ.
    """

    def __init__(self, out: Path, benchmark: str) -> None:
        self.path = Path(out) / benchmark
        self.benchmark = benchmark
        self.settings_file = self.path / "settings.json"
        self.questions_file = self.path / "questions.jsonl"
        self.responses_file = self.path / "responses.jsonl"
        self.grades_file = self.path / "grades.jsonl"
        self.disagreements_file = self.path / "disagreements.jsonl"
        self.result_file = self.path / "result.json"

    def lock(self) -> FolderLock:
        """Lock the folder for one writer. Raises UserError if another process writes to it."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            return FolderLock(self.path)
        except FolderInUse as error:
            raise UserError(
                f"{self.path}: another process (pid {error.holder}) is writing to it; wait until it ends, or use "
                "another --out"
            ) from error

    def begin(self, settings: dict[str, Any], about: dict[str, Any], questions: Iterable[Question]) -> None:
        """Write settings and questions; if there are responses already, check that they have the same settings.

        Settings without responses are overwritten: a run that failed on an invalid option does not block the next.
        Lost or changed questions are written again.

        Raises:
            UserError: there are responses with other settings, or without settings.
        """
        if self.responses_file.exists():
            if not self.settings_file.exists():
                raise UserError(
                    f"{self.responses_file}: there are responses but no settings.json that says how they were sampled; "
                    "restore it, or use another --out, or remove the responses to sample them again"
                )
            check_same(self.read_settings()["settings"], settings, self.path)
            if not self._has_questions(settings["questions_sha256"]):
                write_lines(self.questions_file, (question.record() for question in questions))
            return
        # The settings come last: if they exist, the questions are complete.
        write_lines(self.questions_file, (question.record() for question in questions))
        write_json(self.settings_file, {"settings": settings, "about": about})

    def read_settings(self) -> dict[str, Any]:
        """Read {"settings", "about"}. Raises UserError if nothing was generated yet or the file is invalid."""
        if not self.settings_file.exists():
            raise UserError(f"{self.path}: no settings.json: nothing was generated there yet")
        return read_json(self.settings_file, _SETTINGS)

    def read_questions(self, sha256: str) -> list[Question]:
        """Read the questions, without their images, in the order of the benchmark's file.

        Raises:
            UserError: their SHA-256 is not `sha256`, the one in the settings.
        """
        records = read_questions(self.questions_file, sha256)
        try:
            return [from_record(record) for record in records]
        except (TypeError, KeyError) as error:
            raise UserError(
                f"{self.questions_file}: was written by another version of this program: {error}"
            ) from error

    def _has_questions(self, sha256: str) -> bool:
        try:
            return bool(read_questions(self.questions_file, sha256))
        except UserError:
            return False

    def read_responses(self, questions: Sequence[Question], samples: int) -> list[list[Response]]:
        """Read the responses to each question. Raises UserError if some are missing."""
        responses = ResponseStore(self.responses_file).responses
        missing = [q.uid for q in questions if len(responses.get(q.uid, ())) != samples]
        if missing:
            raise UserError(
                f"{self.responses_file}: {len(missing)} of {len(questions)} questions don't have {samples} response(s) "
                f"yet (first: {missing[0]}): run the command without --grade-only first"
            )
        return [responses[question.uid] for question in questions]


def without_nan(value: Any) -> Any:
    """Replace NaN and infinity, which JSON can't represent, by None."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically. Raises UserError if the disk fails."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_lines(path: Path, entries: Iterable[Any]) -> None:
    """Write a file with one JSON value per line atomically. Raises UserError if the disk fails."""
    write_text(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))


def read_questions(path: Path, sha256: str) -> list[dict[str, Any]]:
    """Read the records of a questions.jsonl. Raises UserError if their SHA-256 is not `sha256`."""
    records = read_lines(path, {"uid": str, "text": str})
    found = records_sha256(records)
    if found != sha256:
        raise UserError(
            f"{path}: the file was changed after sampling: expected SHA-256 {sha256[:12]}... from settings.json, got "
            f"{found[:12]}...; restore it, or write it again with the eval.run command that sampled the responses "
            "(without --grade-only)"
        )
    return records


def read_json(path: Path, keys: Keys | None = None) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file can't be read, is not JSON, or is not an object with these keys; names file and key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read: {error}") from error
    _check_keys(content, keys, str(path))
    return content


def _check_keys(content: Any, keys: Keys | None, where: str) -> None:
    if keys is not None and not isinstance(content, dict):
        raise UserError(f"{where}: expected an object with {', '.join(keys)}, got {shorten(json.dumps(content), 80)}")
    for key, types in (keys or {}).items():
        value, missing = content, False
        for name in key.split("."):
            missing = not isinstance(value, dict) or name not in value
            value = None if missing else value[name]
        if missing or not isinstance(value, types):
            expected = " or ".join(_NAMES[one] for one in (types if isinstance(types, tuple) else (types,)))
            found = "nothing" if missing else shorten(json.dumps(value), 80)
            raise UserError(f"{where}, {key}: expected {expected}, got {found}: another program changed the file")


def read_lines(path: Path, keys: Keys | None = None) -> list[Any]:
    """Read a file with one JSON value per line.

    Raises:
        UserError: the file can't be read, or a line is not JSON or not an object with these keys; names file, line and
            key.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read: {error}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        if line:
            try:
                entries.append(json.loads(line))
            except ValueError as error:
                raise UserError(f"{path}, line {number}: not JSON: {error}") from error
            _check_keys(entries[-1], keys, f"{path}, line {number}")
    return entries
