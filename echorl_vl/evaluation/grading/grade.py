"""The grading pass: extract all answers, grade them with three graders in worker processes, list disagreements."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from echorl_vl.answers.equality import Options as AnswerOptions
from echorl_vl.answers.grading import DEFAULT
from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import GradedQuestion, Question
from echorl_vl.evaluation.generation.base import Response
from echorl_vl.evaluation.grading.extract import extract
from echorl_vl.evaluation.grading.graders import GRADERS, Grade, Item, quick
from echorl_vl.rewards.pool import GradingPool, Outcome, PoolError

TIME_LIMIT = 10.0
_BATCH = 256


@dataclass(frozen=True)
class Grades:
    """The verdicts of all graders.

    Attributes:
        graded: the questions with the verdicts of the chosen grader.
        verdicts: grader -> verdicts by question and response, for the other graders. On choices and yes-no questions
            all graders agree.
        failures: grader -> number of answers on which it timed out or failed; these are incorrect. Equal answers
            to the same truth are graded and counted once.
        grader: the chosen grader.
    """

    graded: list[GradedQuestion]
    verdicts: dict[str, list[tuple[bool, ...]]]
    failures: dict[str, int] = field(default_factory=dict)
    grader: str = "default"

    def disagreements(self) -> list[dict[str, object]]:
        """Return the answers on which the graders disagree, with the verdict of each."""
        found = []
        for index, one in enumerate(self.graded):
            for sample, answer in enumerate(one.answers):
                others = {name: rows[index][sample] for name, rows in self.verdicts.items()}
                by_grader = {self.grader: one.correct[sample], **others}
                if len(set(by_grader.values())) > 1:
                    entry = {"uid": one.question.uid, "sample": sample, "answer": answer, "truth": one.question.answer}
                    found.append(entry | {name: by_grader[name] for name in GRADERS})
        return found


class Grader:
    """Grades responses in worker processes, which start on first use. A context manager.

    Args:
        workers: number of processes.
        time_limit: wall-clock seconds for one answer and grader.
        options: options of the default grader. A benchmark whose numbers are exact has a tolerance of 0, and one may
            state an absolute tolerance.
        grader: whose verdicts the metrics are made of, a name in `GRADERS`.
    """

    def __init__(
        self,
        workers: int | None = None,
        time_limit: float = TIME_LIMIT,
        options: AnswerOptions = DEFAULT,
        grader: str = "default",
    ) -> None:
        self.grader = grader
        self.workers = workers or min(8, os.cpu_count() or 1)
        self.time_limit, self.options = time_limit, options
        self._pool: GradingPool | None = None

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def grade(
        self,
        questions: Sequence[Question],
        responses: Sequence[Sequence[Response]],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Grades:
        """Grade the responses to all questions.

        Args:
            questions: (Q,) questions.
            responses: (Q, n) responses.
            progress: called with (finished answers, all answers).

        Raises:
            UserError: no worker process can be started.
        """
        answers = [
            tuple(extract(response.text, question, response.truncated) for response in row)
            for question, row in zip(questions, responses, strict=True)
        ]
        items = {
            self._item(name, question, answer): None
            for question, row in zip(questions, answers, strict=True)
            if question.kind == "free_form"
            for answer in row
            if answer is not None
            for name in GRADERS
        }
        verdicts, failures = self._verdicts(list(items), progress)
        return self._collect(questions, responses, answers, verdicts, failures)

    def _collect(
        self,
        questions: Sequence[Question],
        responses: Sequence[Sequence[Response]],
        answers: Sequence[tuple[str | None, ...]],
        verdicts: dict[Item, bool],
        failures: dict[str, int],
    ) -> Grades:
        by_grader: dict[str, list[tuple[bool, ...]]] = {name: [] for name in GRADERS}
        for question, row in zip(questions, answers, strict=True):
            for name in GRADERS:
                by_grader[name].append(tuple(self._is_correct(name, question, answer, verdicts) for answer in row))
        graded = [
            GradedQuestion(
                question,
                row,
                correct,
                tuple(response.truncated for response in given),
                tuple(response.tokens for response in given),
            )
            for question, row, correct, given in zip(
                questions, answers, by_grader.pop(self.grader), responses, strict=True
            )
        ]
        return Grades(graded, by_grader, failures, self.grader)

    def _is_correct(self, grader: str, question: Question, answer: str | None, verdicts: dict[Item, bool]) -> bool:
        if answer is None:
            return False
        if question.kind != "free_form":
            return answer == question.answer
        return verdicts[self._item(grader, question, answer)]

    def _item(self, grader: str, question: Question, answer: str) -> Item:
        tolerance = 0.0 if question.exact else self.options.tolerance
        options = replace(self.options, tolerance=tolerance, error=question.error)
        return Item(grader, answer, question.answer, options)

    def _verdicts(
        self, items: list[Item], progress: Callable[[int, int], None]
    ) -> tuple[dict[Item, bool], dict[str, int]]:
        verdicts = {item: verdict for item in items if (verdict := quick(item)) is not None}
        rest = [item for item in items if item not in verdicts]
        failures: dict[str, int] = {}
        for start in range(0, len(rest), _BATCH):
            progress(len(verdicts), len(items))
            batch = rest[start : start + _BATCH]
            for item, outcome in zip(batch, self._map(batch), strict=True):
                # An exception in a grader counts as a failure to read the answer, like a timeout.
                verdicts[item] = outcome.kind == "ok" and bool(outcome.value)
                if outcome.kind != "ok":
                    failures[item.grader] = failures.get(item.grader, 0) + 1
        progress(len(items), len(items))
        return verdicts, failures

    def _map(self, items: list[Item]) -> list[Outcome]:
        if self._pool is None:
            self._pool = GradingPool(Grade(), self.workers, self.time_limit)
        try:
            return self._pool.map(items)
        except PoolError as error:
            raise UserError(f"grading: {error}") from error
