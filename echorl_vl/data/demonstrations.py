"""Demonstrations: the worked solution that comes with a problem, as text and as the tokens of a response.

Formats, told apart by their form: plain text, taken as it is; GSM8K's solutions (`gsm8k`); chat messages, of which the
last is taken if it is the assistant's, as in LUFFY's `target`; theorem calls (`theorems`). The last line of GSM8K's and
of theorem calls is written here, with the answer that the format gives elsewhere; no other text gets an answer that it
lacks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from echorl_vl.answers.extract import last_boxed
from echorl_vl.data.bad_rows import BadRow, RowError, raise_bad_rows
from echorl_vl.data.columns import value_at
from echorl_vl.data.messages import read_reply
from echorl_vl.data.solutions import are_theorem_calls, split_solution, theorem_step
from echorl_vl.errors import UserError
from echorl_vl.models.tokens import reserved_tokens
from echorl_vl.types import Problem

MISSING = "missing"
UNREADABLE = "in no form that is read"
NO_BOX = "without a boxed answer"
RESERVED = "with a reserved token"
TOO_LONG = "too long"
REASONS = (MISSING, UNREADABLE, NO_BOX, RESERVED, TOO_LONG)
"""Why a demonstration can't be used, in the order in which it is looked at."""


class DemonstrationError(RowError):
    """A problem's demonstration can't be used. ``reason`` is one of `REASONS`, ``detail`` says what was found."""

    def __init__(self, problem: Problem, key: str, reason: str, detail: str):
        super().__init__(problem, key, detail)
        self.reason = reason


class UsableDemonstrations(NamedTuple):
    """``kept``: indices of the problems that have one; ``counts``: how many have none, for each of `REASONS`."""

    kept: list[int]
    counts: dict[str, int]

    @property
    def dropped(self) -> int:
        """Number of problems that are not kept."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.counts.items() if count)
        return f"{len(self.kept):,} usable demonstrations" + (f", {self.dropped:,} not ({reasons})" if reasons else "")


def demonstration_text(problem: Problem, key: str) -> str | None:
    """The worked solution in column ``key`` of the problem's row (a dot leads into a nested one), as text.

    None where there is none: no such column, nothing in it, or no assistant's message. Raises DemonstrationError for a
    value of another kind.
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
        expected = "expected text, chat messages, or a list of theorem calls"
        raise DemonstrationError(
            problem, key, UNREADABLE, f"holds {type(value).__name__} {str(value)[:60]}; {expected}"
        )
    return text.strip() or None


def answer_opening(prompt: str) -> str:
    """What the chat template has written of the answer at the end of ``prompt``: ``<think>`` and white space, or ""."""
    match = re.search(r"<think>\s*$", prompt)
    return match[0] if match else ""


class DemonstrationEncoder:
    """Encodes demonstrations as responses: the tokens that follow a prompt, with the end of the turn.

    Args:
        tokenizer: the policy's.
        eos_id: the token that ends the policy's turn.
        max_tokens: the most that a demonstration may have, the end of the turn included (``data.max_response_length``).
        needs_box: one without ``\\boxed{}`` can't be used, since the reward would not find its answer; false for a
            reward that reads something else.
        opening: what the prompt holds of the answer (`answer_opening`), taken off a demonstration that begins with it.
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
        """(L,) int64: the demonstration of ``problem``, ``eos_id`` at the end.

        Raises DemonstrationError, naming row and column, if it can't be used; UserError if no column is set.
        """
        key = demonstration_key(problem)
        text = self.text(problem)
        return torch.tensor(self._finish(problem, key, text, self._tokenize([text])[0]), dtype=torch.long)

    def text(self, problem: Problem) -> str:
        """The demonstration as text, less what the prompt holds of it.

        Raises DemonstrationError if there is none or it has no box.
        """
        key = demonstration_key(problem)
        text = demonstration_text(problem, key)
        if text is None:
            raise DemonstrationError(problem, key, MISSING, "has no worked solution")
        if self.needs_box and not last_boxed(text):
            raise DemonstrationError(problem, key, NO_BOX, r"has no \boxed{} around the final answer")
        return text.removeprefix(self.opening).lstrip() if self.opening else text

    def usable(self, problems: Sequence[Problem]) -> list[DemonstrationError | None]:
        """For each problem why its demonstration can't be used, None where it can; tokenized together."""
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
                problem, key, RESERVED, f"spells {self._reserved[reserved]}, which is a reserved token of the model"
            )
        if self.max_tokens is not None and len(ids) >= self.max_tokens:
            found = f"the demonstration has {len(ids) + 1} tokens, data.max_response_length is {self.max_tokens}"
            raise DemonstrationError(problem, key, TOO_LONG, found)
        return [*ids, self.eos_id]


def demonstration_key(problem: Problem) -> str:
    """The column of the problem's demonstration. Raises UserError if none is set."""
    if problem.keys.demonstration is None:
        raise UserError(f"{problem.where}: no column of worked solutions is named; set data.demonstration_key")
    return problem.keys.demonstration


def usable_demonstrations(
    problems: Sequence[Problem], encoder: DemonstrationEncoder, on_bad: str = "drop", batch_size: int = 256
) -> UsableDemonstrations:
    """Which problems have a demonstration that can be used.

    ``on_bad``: "drop" counts the others; "error" raises a UserError that counts them and shows the first few. So it
    does, whatever ``on_bad`` is, if no demonstration can be used.
    """
    kept: list[int] = []
    bad: list[BadRow] = []
    counts = dict.fromkeys(REASONS, 0)
    for start in range(0, len(problems), batch_size):
        # Read once: a row comes from disk each time it is asked for.
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
