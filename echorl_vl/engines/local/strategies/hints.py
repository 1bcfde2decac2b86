"""Prompts that end with a hint: the first pieces of their demonstration (UFT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from echorl_vl.config import Config
from echorl_vl.core import Splitter, piece_ends, step_ids
from echorl_vl.core.seeds import step_generator
from echorl_vl.data.demonstrations import DemonstrationEncoder
from echorl_vl.data.problem import Problems
from echorl_vl.engines.local.collect import RolloutStrategy
from echorl_vl.engines.local.prompt_tokens import PromptTokens
from echorl_vl.engines.local.timing import PhaseTimer
from echorl_vl.engines.local.update import Updater
from echorl_vl.types import Prompt, RolloutBatch, TrainBatch

BOX = r"\boxed"
CHECKED = 1000  # demonstrations that are checked at the start of a run


class AlgorithmWithHints(Protocol):
    """The interface of an algorithm with `Capability.HINTS`.

    Attributes:
        pieces: the most pieces of a demonstration.
        coef: weight of the mean NLL of hint tokens in the loss.
    """

    pieces: int
    coef: float

    def keep_hint(self, step: int, total_steps: int, pieces: Tensor, generator: torch.Generator) -> Tensor:
        """(P,) how many of the (P,) `pieces` of each demonstration its prompt contains at `step`, counted from 1."""


class Hints(RolloutStrategy):
    """Appends the first pieces of its demonstration to each prompt, as many as the algorithm says."""

    algorithm: AlgorithmWithHints

    @staticmethod
    def check(
        config: Config,
        algorithm: AlgorithmWithHints,
        train: Problems,
        demonstrations: DemonstrationEncoder,
        splitter: Splitter,
    ) -> list[str]:
        checked = min(len(train), CHECKED)
        tokens = (demonstrations.encode(train[index]) for index in range(checked))
        hints = (cut_hints(one, demonstrations.tokenizer, splitter, algorithm.pieces) for one in tokens)
        without = sum(not found for found in hints)
        if not without:
            return []
        what = f"{without:,} of {checked:,} demonstrations have a single step up to their answer and give no hint"
        return [f"{what}: their problems are trained on without one (echo.splitter defines the steps)"]

    @staticmethod
    def added_tokens(config: Config) -> int:
        return config.data.max_response_length  # the most that a demonstration may have

    @property
    def prompt_term(self) -> HintTerm:
        return HintTerm(self.algorithm.coef)

    def grade(self, rollouts: RolloutBatch, timer: PhaseTimer, beginnings: Sequence[str] | None = None) -> RolloutBatch:
        """Scores whole solutions: the hint, and the response that continues it."""
        decode = self.policy.tokenizer.decode
        hints = [decode(p.input_ids[-p.hint_tokens :]) if p.hint_tokens else "" for p in rollouts.prompts]
        return super().grade(rollouts, timer, hints)

    def sample(self, prompts: Sequence[Prompt], step: int, purpose: str, timer: PhaseTimer) -> RolloutBatch:
        return super().sample(self._with_hints(prompts, step, purpose), step, purpose, timer)

    def _with_hints(self, prompts: Sequence[Prompt], step: int, purpose: str) -> list[Prompt]:
        most, splitter = self.algorithm.pieces, self.context.splitter
        hints = [cut_hints(tokens, self.policy.tokenizer, splitter, most) for tokens in self.demonstrations(prompts)]
        pieces = torch.tensor([len(own) for own in hints])
        generator = step_generator(self.config.worker.rollout.seed, step, f"hint {purpose}")
        kept = self.algorithm.keep_hint(step, self.context.total_steps, pieces, generator).tolist()
        return [
            with_hint(prompt, own[count - 1]) if count else prompt
            for prompt, own, count in zip(prompts, hints, kept, strict=True)
        ]

    def finish_step(self, train_batch: TrainBatch, updater: Updater, timer: PhaseTimer) -> dict[str, float]:
        metrics = super().finish_step(train_batch, updater, timer)
        tokens = [prompt.hint_tokens for prompt in train_batch.rollouts.prompts]
        if any(tokens):
            metrics["hint/tokens"] = sum(tokens) / len(tokens)
            metrics["hint/prompts"] = sum(count > 0 for count in tokens) / len(tokens)
        return metrics


@dataclass(frozen=True)
class HintTerm:
    """The NLL of the hints: the mean over the hint tokens of an optimizer step. Each prompt counts once."""

    coef: float
    metric: str = "hint/loss"

    def tokens(self, rollouts: RolloutBatch, rows: range, step: range) -> PromptTokens | None:
        """See `PromptTerm`. A prompt has the share of its rows that are in `rows` as its weight."""
        group_ids = rollouts.group_ids.cpu()
        in_step = group_ids[step.start : step.stop].unique().tolist()
        total = sum(rollouts.prompts[group].hint_tokens for group in in_step)
        if not total:
            return None
        groups, prompt_index = group_ids[rows.start : rows.stop].unique(return_inverse=True)
        prompts = [rollouts.prompts[group] for group in groups.tolist()]
        prompt = torch.arange(len(prompts)).repeat_interleave(torch.tensor([p.hint_tokens for p in prompts]))
        starts = [len(p.input_ids) - p.hint_tokens for p in prompts]
        places = [torch.arange(start, len(p.input_ids)) for start, p in zip(starts, prompts, strict=True)]
        labels = [p.input_ids[start:] for start, p in zip(starts, prompts, strict=True)]
        first_row = torch.full((len(prompts),), len(rows)).scatter_reduce(
            0, prompt_index, torch.arange(len(rows)), "amin"
        )
        share = prompt_index.bincount(minlength=len(prompts)) / group_ids.bincount()[groups]
        return PromptTokens(
            prompt, torch.cat(places), first_row[prompt], torch.cat(labels).cpu(), share[prompt], denominator=total
        )


def cut_hints(demonstration: Tensor, tokenizer: Any, splitter: Splitter, most: int) -> list[Tensor]:
    """Makes the hints of one piece, two pieces, ... of a demonstration.

    Hints end before the first step with a boxed answer, or before the last step if there is none.

    Args:
        demonstration: (L,) tokens of a response, with the end of the turn.
        tokenizer: decodes the tokens.
        splitter: splits the demonstration into steps; a hint consists of whole steps.
        most: the most pieces.

    Returns:
        Tokens (l,) of each hint.
    """
    tokens = demonstration[:-1]
    steps = step_ids(tokens[None], torch.ones(1, len(tokens), dtype=torch.bool), splitter)[0]
    last = int(steps.max())
    texts = tokenizer.batch_decode([tokens[steps == step] for step in range(last)])
    # A box may be spread over several steps, so the text up to each step is searched.
    answer = next((step for step in range(last) if BOX in "".join(texts[: step + 1])), last)
    return [tokens[:end] for end in piece_ends(steps[steps <= answer], most)]


def with_hint(prompt: Prompt, hint: Tensor) -> Prompt:
    """Appends a hint (l,) to a prompt; the response continues it."""
    return replace(prompt, input_ids=torch.cat([prompt.input_ids, hint]), hint_tokens=len(hint))
