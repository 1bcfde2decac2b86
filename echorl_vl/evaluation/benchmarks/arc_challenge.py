"""ARC-Challenge test (Clark et al., 2018): school science, multiple choice; out of domain for a mathematics model."""

from __future__ import annotations

import re

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row
from echorl_vl.evaluation.benchmarks.choices import LETTERS, shuffled_question

_CHOICE = re.compile(r"^([A-E1-5])\) ", re.MULTILINE)


def read(row: Row) -> Question:
    """Read the hub's columns, or LUFFY's chat messages with choices as lines `A) ...` (`1) ...` in 22 questions)."""
    if "prompt" in row.values:
        question, choices, correct = _from_chat(row)
        key = str(row.number)
    else:
        question, key = rows.text(row, "question"), rows.uid(row, "id")
        found = rows.cell(row, "choices") or {}
        choices, labels = list(found.get("text") or ()), list(found.get("label") or ())
        answer = rows.answer(row, "answerKey")
        if answer not in labels:
            raise UserError(f"{row.where}, answerKey: expected one of the labels {labels}, got {answer!r}")
        correct = labels.index(answer)
    return shuffled_question(key, question, choices, correct, row.seed, f"arc_challenge:{row.number}")


def _from_chat(row: Row) -> tuple[str, list[str], int]:
    messages = rows.cell(row, "prompt") or []
    text = next((message["content"] for message in messages if message.get("role") == "user"), "")
    question, *parts = _CHOICE.split(text)
    choices = [part.strip() for part in parts[1::2]]
    letters = "".join(parts[0::2])
    if not question.strip() or len(choices) < 2 or letters not in (LETTERS[: len(choices)], "12345"[: len(choices)]):
        raise UserError(f"{row.where}, prompt: expected a question and choices as lines 'A) ...'")
    answer = (rows.cell(row, "reward_model") or {}).get("ground_truth") or ""
    if answer not in letters or len(answer) != 1:
        raise UserError(f"{row.where}, reward_model.ground_truth: expected one of {letters}, got {answer!r}")
    return question.strip(), choices, letters.index(answer)


BENCHMARKS = (
    Benchmark(
        name="arc_challenge",
        title="ARC-Challenge, test",
        hub=Hub("allenai/ai2_arc", "test", "ARC-Challenge"),
        files=("**/arc_c*", "**/ARC-Challenge/test*"),
        editions=(
            Edition("allenai/ai2_arc, ARC-Challenge, test", 1172),
            Edition("the same questions as LUFFY has them", 1172, ("prompt", "reward_model")),
        ),
        columns=(("question", "prompt"), ("answerKey", "reward_model")),
        read=read,
        shuffled=True,
        note="letters; choices shuffled by the seed",
    ),
)
