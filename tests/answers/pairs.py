"""Pairs of an answer and a ground truth in a TSV file, each with its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    answer: str
    truth: str
    correct: bool


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file; lines that begin with "# " are comments, and the sign for a line break stands for one."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("# ")]
    rows = [line.replace("\u23ce", "\n").split("\t") for line in lines]
    return [Pair(row[0], row[1], row[2].strip() == "1") for row in rows]
