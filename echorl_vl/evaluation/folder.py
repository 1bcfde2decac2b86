"""The folder of one benchmark in `--out`: settings, questions, responses, grades; whole, or appended durably."""

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
"""What a JSON object has to have: {"settings.samples": int}, the type of a key within a key."""

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

    settings.json says what the responses were drawn with: `settings`, which have to be the same when they are gone on
    with, and `about`, which need not (the path of the model, the machine, the time).
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
        """One writer at a time. Raises UserError where another process has the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            return FolderLock(self.path)
        except FolderInUse as error:
            raise UserError(
                f"{self.path} is being written by another process (pid {error.holder}): wait until it ends, or use "
                "another --out"
            ) from error

    def begin(self, settings: dict[str, Any], about: dict[str, Any], questions: Iterable[Question]) -> None:
        """Writes settings and questions down, or checks that those that are there are the same.

        Settings without a response are no one's: a run that was refused for a wrong option leaves nothing in the way.
        Questions that were lost or changed since are written again. Raises UserError where the settings are others,
        or are gone and responses are there.
        """
        if self.responses_file.exists():
            if not self.settings_file.exists():
                raise UserError(
                    f"{self.responses_file}: responses, and no settings.json beside them that says what they were "
                    "drawn with; put it back, or use another --out, or remove the responses to draw all of them again"
                )
            check_same(self.read_settings()["settings"], settings, self.path)
            if not self._has_questions(settings["questions_sha256"]):
                write_lines(self.questions_file, (question.record() for question in questions))
            return
        # The settings come last: where they are, the questions are whole.
        write_lines(self.questions_file, (question.record() for question in questions))
        write_json(self.settings_file, {"settings": settings, "about": about})

    def read_settings(self) -> dict[str, Any]:
        """{"settings", "about"}. Raises UserError where nothing was generated here, or the file is another's."""
        if not self.settings_file.exists():
            raise UserError(f"{self.path}: no settings.json in it: nothing was generated there yet")
        return read_json(self.settings_file, _SETTINGS)

    def read_questions(self, sha256: str) -> list[Question]:
        """The questions, without their pictures, in the order of the benchmark's file.

        Raises UserError where they are not those with this `sha256`, which the settings have.
        """
        records = read_questions(self.questions_file, sha256)
        try:
            return [from_record(record) for record in records]
        except (TypeError, KeyError) as error:
            raise UserError(f"{self.questions_file}: not questions of this version's form: {error}") from error

    def _has_questions(self, sha256: str) -> bool:
        try:
            return bool(read_questions(self.questions_file, sha256))
        except UserError:
            return False

    def read_responses(self, questions: Sequence[Question], samples: int) -> list[list[Response]]:
        """The responses to each of the questions. Raises UserError where some are missing: never a silent skip."""
        responses = ResponseStore(self.responses_file).responses
        missing = [q.uid for q in questions if len(responses.get(q.uid, ())) != samples]
        if missing:
            raise UserError(
                f"{self.responses_file}: {len(missing)} of {len(questions)} questions don't have their {samples} "
                f"response(s), the first is {missing[0]}: run the command without --grade-only first"
            )
        return [responses[question.uid] for question in questions]


def without_nan(value: Any) -> Any:
    """`value` with None for NaN and infinity, which JSON has not."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all. Raises UserError where the disk refuses."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_lines(path: Path, entries: Iterable[Any]) -> None:
    """Writes one JSON value a line, whole or not at all. Raises UserError where the disk refuses."""
    write_text(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))


def read_questions(path: Path, sha256: str) -> list[dict[str, Any]]:
    """The records of a questions.jsonl. Raises UserError where they are not those that `sha256` was taken of."""
    records = read_lines(path, {"uid": str, "text": str})
    found = records_sha256(records)
    if found != sha256:
        raise UserError(
            f"{path}: not the questions that were answered: SHA-256 {found[:12]}..., and the settings have "
            f"{sha256[:12]}...: something changed the file; put it back, or run the command of eval.run that made the "
            "folder, without --grade-only, which writes the questions again"
        )
    return records


def read_json(path: Path, keys: Keys | None = None) -> Any:
    """Raises UserError, naming file and key, where it is not there, no JSON, or no object with these keys."""
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
            wanted = " or ".join(_NAMES[one] for one in (types if isinstance(types, tuple) else (types,)))
            found = "nothing" if missing else shorten(json.dumps(value), 80)
            raise UserError(f"{where}, {key}: expected {wanted}, got {found}: something else wrote or changed the file")


def read_lines(path: Path, keys: Keys | None = None) -> list[Any]:
    """Raises UserError, naming file, line and key, where one is no JSON, or no object with these keys."""
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
