"""Rollouts of many prompts, sampled a few prompts at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from echorl_vl.data.prompts import Prompt
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.engines.rollouts import Rollouts


def generate_in_chunks(
    policy: Policy, prompts: Sequence[Prompt], params: SamplingParams, generator: torch.Generator, size: int
) -> Rollouts:
    """As `generate`, `size` prompts at a time (data.mini_rollout_batch_size): less memory for keys and values."""
    parts = [
        generate(policy, prompts[first : first + size], params, generator) for first in range(0, len(prompts), size)
    ]
    return parts[0] if len(parts) == 1 else concatenate(parts, policy.pad_id)


def concatenate(parts: Sequence[Rollouts], pad_id: int) -> Rollouts:
    """Rollouts of several batches as one: prompts and rows in order, padded to the longest response."""
    width = max(part.tokens.shape[1] for part in parts)

    def rows(name: str, value: int = 0) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        if tensors[0] is None:  # an engine that did not record it
            return None
        return torch.cat([pad(tensor, (0, width - tensor.shape[1]), value=value) for tensor in tensors])

    starts = [sum(len(part.prompts) for part in parts[:index]) for index in range(len(parts))]
    return Rollouts(
        prompts=[prompt for part in parts for prompt in part.prompts],
        group_ids=torch.cat([part.group_ids + start for part, start in zip(parts, starts, strict=True)]),
        tokens=rows("tokens", pad_id),
        response_mask=rows("response_mask"),
        text_mask=rows("text_mask"),
        log_probs=rows("log_probs"),
        entropy=rows("entropy"),
        truncated=torch.cat([part.truncated for part in parts]),
        texts=[text for part in parts for text in part.texts],
    )
