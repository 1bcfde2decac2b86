"""The rows of an optimizer step, and the denominators of its loss terms."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from echorl_vl.types import TrainBatch


@dataclass(frozen=True)
class MiniBatch:
    """Rows of one optimizer step, and their counts.

    Attributes:
        rows: consecutive rows, whole groups.
        prompts: number of groups.
        clips: number of EchoClips.
        rollouts: rows of the policy term.
        tokens: response tokens of the policy term.
        on_policy_rollouts: the on-policy rows among `rollouts`.
        on_policy_tokens: the tokens of on-policy rows among `tokens`.
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
        """The mini-batch of groups `first` to `stop` - 1."""
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
