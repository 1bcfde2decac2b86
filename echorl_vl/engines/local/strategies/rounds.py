"""Further rounds of sampling for some prompts, and a selection of rows for the update (Reinforce-Ada)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from echorl_vl.engines.local.collect import RolloutStrategy
from echorl_vl.engines.local.timing import PhaseTimer
from echorl_vl.engines.train_batch import reward_metrics
from echorl_vl.types import Prompt, RolloutBatch, TrainBatch, merge_groups


class AlgorithmWithRounds(Protocol):
    """The interface of an algorithm with `Capability.ROUNDS`.

    Attributes:
        max_rounds: the most rounds of sampling for a prompt.
    """

    max_rounds: int

    def is_done(self, correct: Tensor, group_ids: Tensor) -> Tensor:
        """(P,) bool: prompts that need no further round, by their rollouts so far (B,)."""

    def select_rows(self, correct: Tensor, group_ids: Tensor) -> Tensor:
        """(B,) bool: rows that go into the update."""


class Rounds(RolloutStrategy):
    """Samples n rollouts of each prompt, n more of those that are not done, and so on.

    The rows of a group are in the order of sampling.
    """

    algorithm: AlgorithmWithRounds

    def sample(self, prompts: Sequence[Prompt], step: int, purpose: str, timer: PhaseTimer) -> RolloutBatch:
        first = super().sample(prompts, step, purpose, timer)
        if self.algorithm.max_rounds == 1:
            return first
        every = torch.arange(len(prompts))
        parts, numbers, scores, group_ids = [first], [every], first.scores, first.group_ids.cpu()
        while len(parts) < self.algorithm.max_rounds:
            correct = torch.tensor([row["accuracy"] >= self.config.echo.verify_threshold for row in scores])
            undone = every[~self.algorithm.is_done(correct, group_ids)]
            if not len(undone):
                break
            again = [first.prompts[prompt] for prompt in undone.tolist()]
            parts.append(super().sample(again, step, f"round {len(parts)}", timer))
            numbers.append(undone)
            scores = scores + parts[-1].scores
            group_ids = torch.cat([group_ids, undone[parts[-1].group_ids.cpu()]])
        metrics = {"sampling/rounds": float(len(parts)), "sampling/rollouts_per_prompt": len(scores) / len(prompts)}
        # Reward metrics are those of the first round: further rounds have prompts that were selected by their rewards.
        metrics |= reward_metrics(first.scores)
        merged = first if len(parts) == 1 else merge_groups(parts, numbers, self.policy.pad_id)
        return replace(merged, metrics=metrics)

    def update_batch(self, train_batch: TrainBatch) -> TrainBatch:
        """The algorithm's rows, and other rows with a clip, which are in the echo term alone."""
        train_batch = super().update_batch(train_batch)
        kept = self.algorithm.select_rows(train_batch.verified, train_batch.rollouts.group_ids)
        with_clip = torch.zeros_like(kept)
        if train_batch.clips is not None:
            with_clip[train_batch.clips.rows] = True
        rollouts = replace(train_batch.rollouts, aux_only=with_clip & ~kept)
        return replace(train_batch, rollouts=rollouts).take((kept | with_clip).nonzero().squeeze(1))
