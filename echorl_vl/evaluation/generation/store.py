"""Responses on disk: one line per question, appended durably, readable after a kill at any moment."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from echorl_vl.errors import UserError, shorten
from echorl_vl.evaluation.generation.base import Response
from echorl_vl.outputs.atomic import disk_error, fsync_folder


class ResponseStore:
    """The responses of one benchmark in a JSON-lines file: {"uid", "responses": [{"text", "tokens", "truncated"}]}.

    An incomplete last line, left by a kill, is removed when the store is opened; its question is sampled again.

    Raises:
        UserError: another line is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.responses: dict[str, list[Response]] = {}
        if self.path.exists():
            self._read()

    def append(self, uid: str, responses: Sequence[Response]) -> None:
        """Write the responses to one question and sync them to disk. Raises UserError if the disk fails."""
        line = json.dumps({"uid": uid, "responses": [asdict(response) for response in responses]}, ensure_ascii=False)
        try:
            new = not self.path.exists()
            with open(self.path, "ab") as file:
                file.write(line.encode("utf-8", "replace") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if new:
                fsync_folder(self.path.parent)
        except OSError as error:
            raise disk_error(self.path, error) from error
        self.responses[uid] = list(responses)

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with open(self.path, "r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                entry = json.loads(line)
                self.responses[entry["uid"]] = [Response(**response) for response in entry["responses"]]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self.path}, line {number}: expected the responses to a question ({shorten(str(error))}): "
                    "another program changed the file; remove the line to sample the responses again"
                ) from error
