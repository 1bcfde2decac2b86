"""Rollouts of a batch of prompts, sampled a part at a time, and demonstrations as rows beside them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.models.tokens import text_mask
from echorl_vl.types import Prompt, RolloutBatch, concatenate, merge_groups


def generate_in_chunks(
    policy: Policy, prompts: Sequence[Prompt], params: SamplingParams, generator: torch.Generator, size: int
) -> RolloutBatch:
    """As `generate`, `size` prompts at a time (data.mini_rollout_batch_size): less memory for keys and values."""
    parts = [
        generate(policy, prompts[first : first + size], params, generator) for first in range(0, len(prompts), size)
    ]
    return parts[0] if len(parts) == 1 else concatenate(parts, policy.pad_id)


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
