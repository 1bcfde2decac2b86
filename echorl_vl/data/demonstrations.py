"""Demonstrations: the worked solution of a problem, as text and as the tokens of a response.

The format is detected: plain text, used unchanged; chat messages, of which the last is used if it is the assistant's,
as in LUFFY's `target`; GSM8K's solutions and theorem calls (`solutions`), which get a last line with the boxed answer.
Other text is never given an answer that it lacks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from echorl_vl.answers.extract import last_boxed
from echorl_vl.data.bad_rows import BadRow, RowError, raise_bad_rows
from echorl_vl.data.columns import value_at
from echorl_vl.data.messages import describe_value, read_reply
from echorl_vl.data.solutions import are_theorem_calls, split_solution, theorem_step
from echorl_vl.errors import UserError
from echorl_vl.models.tokens import reserved_tokens
from echorl_vl.types import Problem

MISSING = "missing"
UNREADABLE = "in an unknown format"
NO_BOX = "without a boxed answer"
RESERVED = "with a reserved token"
TOO_LONG = "too long"
REASONS = (MISSING, UNREADABLE, NO_BOX, RESERVED, TOO_LONG)
"""Why a demonstration can't be used, in the order of the checks."""


class DemonstrationError(RowError):
    """A problem's demonstration can't be used. ``reason`` is one of `REASONS`, ``detail`` explains it."""

    def __init__(self, problem: Problem, key: str, reason: str, detail: str):
        super().__init__(problem, key, detail)
        self.reason = reason


class UsableDemonstrations(NamedTuple):
    """Result of `usable_demonstrations`.

    Attributes:
        kept: indices of the problems that have one.
        counts: number of the other problems by `REASONS`.
    """

    kept: list[int]
    counts: dict[str, int]

    @property
    def dropped(self) -> int:
        """Number of problems without a usable demonstration."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.counts.items() if count)
        return f"{len(self.kept):,} usable demonstrations" + (f", {self.dropped:,} not ({reasons})" if reasons else "")


def demonstration_text(problem: Problem, key: str) -> str | None:
    """The worked solution in a column of the problem's row, as text.

    Args:
        key: name of the column; a dot leads into a nested one.

    Returns:
        None if the column does not exist, is empty, or has no message of the assistant.

    Raises:
        DemonstrationError: the value has another type.
    """
    value = value_at(problem.extra, key)
    if not value:
        return None
    if isinstance(value, str):
        text = _plain(value)
    elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
        text = read_reply(value) or ""
    elif isinstance(value, list) and all(isinstance(item, str) for item in value) and are_theorem_calls(value):
        steps = [theorem_step(call) for call in value]
        text = "\n".join([*steps, rf"So the answer is \boxed{{{problem.answer}}}."])
    else:
        detail = f"expected text, chat messages or a list of theorem calls, got {describe_value(value)}"
        raise DemonstrationError(problem, key, UNREADABLE, detail)
    return text.strip() or None


def answer_opening(prompt: str) -> str:
    """Start of the response at the end of ``prompt``, from the chat template: ``<think>`` with white space, or ""."""
    match = re.search(r"<think>\s*$", prompt)
    return match[0] if match else ""


class DemonstrationEncoder:
    """Encodes demonstrations as responses: the tokens that follow a prompt, up to the end of the turn.

    Args:
        tokenizer: of the policy.
        eos_id: token that ends the policy's turn.
        max_tokens: limit for a demonstration, including the end of the turn (``data.max_response_length``).
        needs_box: a demonstration needs ``\\boxed{}``. False for a reward that reads other forms of answers.
        opening: start of the response that is in the prompt (`answer_opening`), removed from demonstrations.
    """

    def __init__(
        self, tokenizer: Any, eos_id: int, max_tokens: int | None = None, needs_box: bool = True, opening: str = ""
    ):
        self.tokenizer = tokenizer
        self.eos_id = eos_id
        self.max_tokens = max_tokens
        self.needs_box = needs_box
        self.opening = opening.strip()
        self._reserved = reserved_tokens(tokenizer)

    def encode(self, problem: Problem) -> torch.Tensor:
        """The demonstration of ``problem`` as (L,) int64 token ids, ending in ``eos_id``.

        Raises:
            DemonstrationError: it can't be used.
            UserError: no column is set.
        """
        key = demonstration_key(problem)
        text = self.text(problem)
        return torch.tensor(self._finish(problem, key, text, self._tokenize([text])[0]), dtype=torch.long)

    def text(self, problem: Problem) -> str:
        """The demonstration as text, without the opening that the prompt has.

        Raises:
            DemonstrationError: there is none, or it has no box.
        """
        key = demonstration_key(problem)
        text = demonstration_text(problem, key)
        if text is None:
            raise DemonstrationError(problem, key, MISSING, "has no worked solution")
        if self.needs_box and not last_boxed(text):
            raise DemonstrationError(problem, key, NO_BOX, r"has no \boxed{} around the final answer")
        return text.removeprefix(self.opening).lstrip() if self.opening else text

    def usable(self, problems: Sequence[Problem]) -> list[DemonstrationError | None]:
        """For each problem the error of its demonstration, None if it can be used. Tokenizes them together."""
        errors: list[DemonstrationError | None] = []
        texts: dict[int, str] = {}
        for index, problem in enumerate(problems):
            try:
                texts[index] = self.text(problem)
                errors.append(None)
            except DemonstrationError as error:
                errors.append(error)
        for (index, text), ids in zip(texts.items(), self._tokenize(list(texts.values())), strict=True):
            try:
                self._finish(problems[index], demonstration_key(problems[index]), text, ids)
            except DemonstrationError as error:
                errors[index] = error
        return errors

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []

    def _finish(self, problem: Problem, key: str, text: str, ids: list[int]) -> list[int]:
        reserved = next((token_id for token_id in ids if token_id in self._reserved), None)
        if reserved is not None:
            raise DemonstrationError(
                problem, key, RESERVED, f"contains {self._reserved[reserved]}, which is a reserved token of the model"
            )
        if self.max_tokens is not None and len(ids) >= self.max_tokens:
            detail = f"the demonstration has {len(ids) + 1} tokens, data.max_response_length is {self.max_tokens}"
            raise DemonstrationError(problem, key, TOO_LONG, detail)
        return [*ids, self.eos_id]


def demonstration_key(problem: Problem) -> str:
    """Name of the column of demonstrations. Raises UserError if none is set."""
    if problem.keys.demonstration is None:
        raise UserError(f"{problem.where}: no column of demonstrations is set; set data.demonstration_key")
    return problem.keys.demonstration


def usable_demonstrations(
    problems: Sequence[Problem], encoder: DemonstrationEncoder, on_bad: str = "drop", batch_size: int = 256
) -> UsableDemonstrations:
    """Find the problems with a usable demonstration.

    Args:
        on_bad: "drop" counts the other problems, "error" raises.
        batch_size: number of problems whose demonstrations are tokenized together.

    Raises:
        UserError: ``on_bad`` is "error" and a demonstration can't be used, or none can. It lists the first ones.
    """
    kept: list[int] = []
    bad: list[BadRow] = []
    counts = dict.fromkeys(REASONS, 0)
    for start in range(0, len(problems), batch_size):
        # Read each row once: every access reads it from disk.
        batch = [problems[index] for index in range(start, min(start + batch_size, len(problems)))]
        for index, error in enumerate(encoder.usable(batch), start):
            if error is None:
                kept.append(index)
                continue
            counts[error.reason] += 1
            bad.append(error.bad_row(index))
    result = UsableDemonstrations(kept, counts)
    if bad and (on_bad == "error" or not kept):
        try:
            raise_bad_rows(bad, len(problems))
        except UserError as error:
            raise UserError(f"demonstrations: {result}. {error}") from None
    return result


def _plain(text: str) -> str:
    solution = None if last_boxed(text) else split_solution(text)
    if solution is None:
        return text
    reasoning, answer = solution
    return "\n".join(filter(None, [reasoning, rf"The answer is \boxed{{{answer}}}."]))
