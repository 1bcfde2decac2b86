"""Which rows an optimizer step takes, and what its loss terms are divided by."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from echorl_vl.types import TrainBatch


@dataclass(frozen=True)
class MiniBatch:
    """Rows of one optimizer step, and the counts of the whole step.

    rows: consecutive, whole groups. prompts, clips: how many.
    rollouts, tokens: rows of the policy term and their response tokens; on_policy_rollouts, on_policy_tokens: those of
    them that the policy wrote.
    """

    rows: range
    prompts: int
    clips: int
    rollouts: int
    tokens: int
    on_policy_rollouts: int
    on_policy_tokens: int

    @classmethod
    def from_groups(cls, train_batch: TrainBatch, first: int, stop: int) -> MiniBatch:
        """The groups `first` up to, not including, `stop`."""
        rollouts = train_batch.rollouts
        bounds = torch.searchsorted(rollouts.group_ids, torch.tensor([first, stop], device=rollouts.group_ids.device))
        rows = range(*bounds.tolist())
        inside = slice(rows.start, rows.stop)
        lengths = rollouts.response_mask[inside].sum(-1)
        trained = torch.ones_like(rollouts.is_on_policy[inside])
        if rollouts.aux_only is not None:
            trained = ~rollouts.aux_only[inside]
        on_policy = trained & rollouts.is_on_policy[inside]
        clips = 0
        if train_batch.clips is not None:
            clips = int(((train_batch.clips.rows >= rows.start) & (train_batch.clips.rows < rows.stop)).sum())
        return cls(
            rows=rows,
            prompts=stop - first,
            clips=clips,
            rollouts=int(trained.sum()),
            tokens=int(lengths[trained].sum()),
            on_policy_rollouts=int(on_policy.sum()),
            on_policy_tokens=int(lengths[on_policy].sum()),
        )
