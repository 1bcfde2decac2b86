"""Experts' traces as a run needs them: tokens of a problem's trace, and prompts with a hint cut from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from echorl_vl.algorithms import Algorithm, Capability
from echorl_vl.config import Config
from echorl_vl.core import Splitter, piece_ends, step_ids
from echorl_vl.data.demonstrations import DemonstrationEncoder, answer_opening, usable_demonstrations
from echorl_vl.data.problem import Problems
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.errors import UserError
from echorl_vl.types import Problem, Prompt

BOX = r"\boxed"


class ExpertTraces:
    """The traces of a set of problems that all have one that can be used (`data.demonstrations.usable_demonstrations`).

    splitter: says where the steps of a trace end; hints are cut there.
    """

    def __init__(self, encoder: DemonstrationEncoder, splitter: Splitter) -> None:
        self._encoder, self._splitter = encoder, splitter

    def tokens(self, problem: Problem) -> Tensor:
        """(L,) int64: the trace as a response, with the end of the turn."""
        return self._encoder.encode(problem)

    def hints(self, problem: Problem, most: int) -> list[Tensor]:
        """The hints of one piece, two pieces, ..., at most `most`; tokens, (l,) each.

        The first step that has a boxed answer (or else the last step) and what comes after it are in none.
        """
        tokens = self.tokens(problem)[:-1]
        steps = step_ids(tokens[None], torch.ones(1, len(tokens), dtype=torch.bool), self._splitter)[0]
        return [tokens[:end] for end in piece_ends(steps[steps <= self._answer_step(tokens, steps)], most)]

    def _answer_step(self, tokens: Tensor, steps: Tensor) -> int:
        last = int(steps.max())
        texts = self._encoder.tokenizer.batch_decode([tokens[steps == step] for step in range(last)])
        # A box may be spread over steps: the text up to its end tells.
        return next((step for step in range(last) if BOX in "".join(texts[: step + 1])), last)


def with_hint(prompt: Prompt, hint: Tensor) -> Prompt:
    """The prompt with a hint (l,) behind it: the response goes on from there."""
    return replace(prompt, input_ids=torch.cat([prompt.input_ids, hint]), hint_tokens=len(hint))


def with_traces(
    train: Problems,
    encoder: PromptEncoder,
    tokenizer: Any,
    end_of_turn: int,
    splitter: Splitter,
    algorithm: Algorithm,
    config: Config,
    note: Callable[[str], None],
) -> tuple[Problems, ExpertTraces]:
    """The problems whose demonstration can be used, and the demonstrations; ``note`` takes a line about how many.

    Raises:
        UserError: none can be used, or one can't be under `data.bad_traces: error`; there are too few for the
            algorithm's buffer.
    """
    data = config.data
    opening = answer_opening(encoder.render(train[0]))
    traces = DemonstrationEncoder(
        tokenizer, end_of_turn, data.max_response_length, data.trace_needs_box, opening=opening
    )
    found = usable_demonstrations(train, traces, data.bad_traces)
    note(f"{train.source}: {found}")
    kept, usable = (train.select(found.kept) if found.dropped else train), ExpertTraces(traces, splitter)
    if Capability.HINTS in algorithm.needs:
        _count_hints(kept, usable, algorithm.hint_pieces, note)
    _check_buffer(kept, algorithm, config)
    return kept, usable


def _count_hints(train: Problems, traces: ExpertTraces, pieces: int, note: Callable[[str], None]) -> None:
    """Says how many traces, of up to a thousand, are one step up to their answer: no hint can be cut from them."""
    looked_at = range(min(len(train), 1000))
    without = sum(not traces.hints(train[index], pieces) for index in looked_at)
    if without:
        note(
            f"{without:,} of {len(looked_at):,} traces are one step up to their answer and give no hint: their "
            "problems are trained on without one (echo.splitter says where steps end)"
        )


def _check_buffer(train: Problems, algorithm: Algorithm, config: Config) -> None:
    if algorithm.sft_prompts > len(train):
        raise UserError(
            f"algorithm.options.buffer = {algorithm.sft_prompts} ({config.origin('algorithm.options')}): the buffer "
            f"holds each problem once, and {train.source} has {len(train):,} with a trace, so it would never be full; "
            f"wanted at most {len(train):,}"
        )
