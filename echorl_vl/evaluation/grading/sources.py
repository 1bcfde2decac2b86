"""Which grader: a short hash of the sources that decide a grade, so that a change of them is seen in what it graded."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

MODULES = (
    "echorl_vl.answers.extract",
    "echorl_vl.answers.grading",
    "echorl_vl.answers.text",
    "echorl_vl.answers.values",
    "echorl_vl.evaluation.grading.extract",
    "echorl_vl.evaluation.grading.grade",
    "echorl_vl.evaluation.grading.graders",
    "echorl_vl.rewards.failures",
    "echorl_vl.rewards.keeper",
    "echorl_vl.rewards.pool",
    "echorl_vl.rewards.printed",
    "echorl_vl.rewards.worker",
)
"""The grading pass and what it imports of answers and rewards, with the worker processes: they say what is too slow."""


def grader_sha256() -> str:
    """The first 12 digits of a SHA-256 over the sources of `MODULES`; comments count, so it may change where no grade
    does, and not the other way round."""
    digest = hashlib.sha256()
    for module in MODULES:
        source = Path(find_spec(module).origin).read_text(encoding="utf-8")
        digest.update(f"{module}\n{len(source)}\n{source}".encode())
    return digest.hexdigest()[:12]
