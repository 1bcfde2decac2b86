"""Demonstrations as rows of a batch: next to the rollouts of their prompts (LUFFY, SRFT), or alone (SFT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from echorl_vl.engines.local.collect import RolloutStrategy
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.engines.local.timing import PhaseTimer
from echorl_vl.models.tokens import text_mask
from echorl_vl.types import Prompt, RolloutBatch, merge_groups


class OffPolicyRows(RolloutStrategy):
    """Samples n - 1 rollouts of each prompt; its demonstration is the last row of the group."""

    @property
    def params(self) -> SamplingParams:
        params = super().params
        return replace(params, n=params.n - 1)

    def generate(self, prompts: Sequence[Prompt], step: int, purpose: str) -> RolloutBatch:
        return with_off_policy_rows(super().generate(prompts, step, purpose), self.policy, self.demonstrations(prompts))


class DemonstrationsOnly(RolloutStrategy):
    """Takes the demonstration of each prompt and samples nothing."""

    def sample(self, prompts: Sequence[Prompt], step: int, purpose: str, timer: PhaseTimer) -> RolloutBatch:
        return self.grade(off_policy_rows(self.policy, prompts, self.demonstrations(prompts)), timer)


def off_policy_rows(policy: Policy, prompts: Sequence[Prompt], demonstrations: Sequence[Tensor]) -> RolloutBatch:
    """A row for each prompt with its demonstration (L,) as the response. Log-probs and entropies are 0."""
    lengths = torch.tensor([len(tokens) for tokens in demonstrations])
    tokens = pad_sequence([tokens.to(policy.device) for tokens in demonstrations], True, policy.pad_id)
    mask = torch.arange(tokens.shape[1], device=policy.device) < lengths.to(policy.device)[:, None]
    unknown = torch.zeros(tokens.shape, device=policy.device)
    nothing = torch.zeros(len(demonstrations), dtype=torch.bool, device=policy.device)
    return RolloutBatch(
        prompts=list(prompts),
        group_ids=torch.arange(len(demonstrations), device=policy.device),
        tokens=tokens,
        response_mask=mask,
        text_mask=text_mask(tokens, mask, policy.visual, policy.special_ids),
        log_probs=unknown,
        entropy=unknown,
        truncated=nothing,
        texts=policy.tokenizer.batch_decode([tokens.tolist() for tokens in demonstrations], skip_special_tokens=True),
        on_policy=nothing,
    )


def with_off_policy_rows(rollouts: RolloutBatch, policy: Policy, demonstrations: Sequence[Tensor]) -> RolloutBatch:
    """Adds the demonstration (L,) of each prompt as the last row of its group."""
    every = torch.arange(len(rollouts.prompts))
    rows = off_policy_rows(policy, rollouts.prompts, demonstrations)
    return merge_groups([rollouts, rows], [every, every], policy.pad_id)
