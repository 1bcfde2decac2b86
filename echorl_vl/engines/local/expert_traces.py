"""Experts' traces as a run needs them: tokens of a problem's trace, and prompts with a hint cut from it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from echorl_vl.core import Splitter, piece_ends, step_ids
from echorl_vl.data.problem import Problem
from echorl_vl.data.prompts import Prompt
from echorl_vl.data.traces import TraceEncoder

BOX = r"\boxed"


class ExpertTraces:
    """The traces of a set of problems that all have one that can be used (`data.traces.usable_traces`).

    splitter: says where the steps of a trace end; hints are cut there.
    """

    def __init__(self, encoder: TraceEncoder, splitter: Splitter) -> None:
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
