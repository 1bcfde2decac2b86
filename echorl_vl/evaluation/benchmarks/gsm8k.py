"""GSM8K test (Cobbe et al., 2021): arithmetic word problems with a numeric answer."""

from __future__ import annotations

from echorl_vl.data.solutions import split_solution
from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import rows
from echorl_vl.evaluation.benchmarks.base import Benchmark, Edition, Hub, Question, Row


def read(row: Row) -> Question:
    """The answer follows `####` in the solution."""
    solution = split_solution(rows.answer(row, "answer"))
    if solution is None:
        raise UserError(f"{row.where}, answer: expected a last line '#### ANSWER' in the solution, got none")
    return Question(uid=rows.uid(row, "idx"), text=rows.text(row, "question"), answer=solution[1])


BENCHMARKS = (
    Benchmark(
        name="gsm8k",
        title="GSM8K, test",
        hub=Hub("openai/gsm8k", "test", "main"),
        files=("**/gsm8k.*", "**/gsm8k/main/test*", "**/gsm8k/test*"),
        editions=(Edition("openai/gsm8k, test", 1319),),
        columns=("question", "answer"),
        read=read,
        note="free form",
    ),
)
