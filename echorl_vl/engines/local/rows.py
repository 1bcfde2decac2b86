"""Rollouts put together: of several batches of prompts, of several rounds for one prompt, and with experts' rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.models.tokens import text_mask
from echorl_vl.types import Prompt, RolloutBatch, take_rows


def generate_in_chunks(
    policy: Policy, prompts: Sequence[Prompt], params: SamplingParams, generator: torch.Generator, size: int
) -> RolloutBatch:
    """As `generate`, `size` prompts at a time (data.mini_rollout_batch_size): less memory for keys and values."""
    parts = [
        generate(policy, prompts[first : first + size], params, generator) for first in range(0, len(prompts), size)
    ]
    return parts[0] if len(parts) == 1 else concatenate(parts, policy.pad_id)


def concatenate(parts: Sequence[RolloutBatch], pad_id: int) -> RolloutBatch:
    """Rollouts of several batches as one: prompts and rows in order, padded to the longest response."""
    width = max(part.tokens.shape[1] for part in parts)

    def rows(name: str, value: int = 0) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        if tensors[0] is None:  # an engine that did not record it
            return None
        return torch.cat([pad(tensor, (0, width - tensor.shape[1]), value=value) for tensor in tensors])

    starts = [sum(len(part.prompts) for part in parts[:index]) for index in range(len(parts))]
    all_own = all(part.on_policy is None for part in parts)
    return RolloutBatch(
        prompts=[prompt for part in parts for prompt in part.prompts],
        group_ids=torch.cat([part.group_ids + start for part, start in zip(parts, starts, strict=True)]),
        tokens=rows("tokens", pad_id),
        response_mask=rows("response_mask"),
        text_mask=rows("text_mask"),
        log_probs=rows("log_probs"),
        entropy=rows("entropy"),
        truncated=torch.cat([part.truncated for part in parts]),
        texts=[text for part in parts for text in part.texts],
        on_policy=None if all_own else torch.cat([part.is_on_policy for part in parts]),
    )


def merge_groups(parts: Sequence[RolloutBatch], numbers: Sequence[Tensor], pad_id: int) -> RolloutBatch:
    """Rollouts of the same prompts as one, in group order; within a group in the order of the parts.

    Args:
        parts: the first one has every prompt. numbers: for each part (p,), the number of its prompts in the first.
    """
    joined = concatenate(parts, pad_id)
    group_ids = torch.cat(list(numbers)).to(joined.group_ids.device)[joined.group_ids]
    order = group_ids.argsort(stable=True)
    moved = take_rows(replace(joined, group_ids=torch.zeros_like(group_ids)), order)
    return replace(moved, prompts=list(parts[0].prompts), group_ids=group_ids[order])


def expert_rollouts(policy: Policy, prompts: Sequence[Prompt], traces: Sequence[Tensor]) -> RolloutBatch:
    """One row for each prompt: its expert's trace (L,), as if it were a response. Log-probs and entropies are 0."""
    lengths = torch.tensor([len(trace) for trace in traces])
    tokens = pad_sequence([trace.to(policy.device) for trace in traces], True, policy.pad_id)
    mask = torch.arange(tokens.shape[1], device=policy.device) < lengths.to(policy.device)[:, None]
    unknown = torch.zeros(tokens.shape, device=policy.device)
    nothing = torch.zeros(len(traces), dtype=torch.bool, device=policy.device)
    return RolloutBatch(
        prompts=list(prompts),
        group_ids=torch.arange(len(traces), device=policy.device),
        tokens=tokens,
        response_mask=mask,
        text_mask=text_mask(tokens, mask, policy.visual, policy.special_ids),
        log_probs=unknown,
        entropy=unknown,
        truncated=nothing,
        texts=policy.tokenizer.batch_decode([trace.tolist() for trace in traces], skip_special_tokens=True),
        on_policy=nothing,
    )


def with_expert_rows(rollouts: RolloutBatch, policy: Policy, traces: Sequence[Tensor]) -> RolloutBatch:
    """The expert's trace (L,) of each prompt as the last row of its group."""
    every = torch.arange(len(rollouts.prompts))
    return merge_groups([rollouts, expert_rollouts(policy, rollouts.prompts, traces)], [every, every], policy.pad_id)
