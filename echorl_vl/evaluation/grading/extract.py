"""Extract the final answer of a response, for each kind of question. An ambiguous answer counts as none."""

from __future__ import annotations

from echorl_vl.answers.choices import choice_of, is_label, opening, yes_or_no
from echorl_vl.answers.extract import final_answer, last_line, without_reasoning
from echorl_vl.evaluation.benchmarks.base import Question


def extract(response: str, question: Question, truncated: bool = False) -> str | None:
    """Return the answer: text (free_form), a letter (choice), "yes" or "no" (yes_no); None if there is no answer.

    Takes time linear in the length of the response.
    """
    answer = final_answer(response, truncated)
    if question.kind == "free_form":
        return answer
    response = without_reasoning(response)
    if question.kind == "choice":
        if answer is None and not truncated:
            line = " ".join(last_line(response).strip(" *_").split())  # single spaces keep the pattern linear
            answer = line if is_label(line) else None
        return None if answer is None else choice_of(answer, question.choices)
    if answer is None and not truncated:
        answer = opening(response)
    return None if answer is None else yes_or_no(answer)
