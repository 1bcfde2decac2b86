"""Samples n responses per prompt; each image is encoded once, and each prompt is computed once.

The log-probability and the entropy of a token are recorded when it is sampled, from the same logits: over the full
vocabulary, at the rollout temperature, before visual tokens are masked and before top-p and top-k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from echorl_vl.config import Config
from echorl_vl.core.entropy import log_probs_and_entropy
from echorl_vl.engines.local.kv_cache import PromptCache, ResponseCache
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.sampling import SamplingParams, sample
from echorl_vl.models.tokens import text_mask
from echorl_vl.rewards.manager import RewardManager
from echorl_vl.types import RolloutBatch

COMPACT_EVERY = 8  # tokens between checks for finished rows: each check synchronizes with the GPU
COMPACT_BELOW = 0.75  # the batch is compacted when a smaller share of its slots is still running
PROMPT_CHUNK = 16384  # prompt tokens in one forward pass


@torch.no_grad()
def generate(
    policy: Policy,
    prompts: Sequence,
    params: SamplingParams,
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None = None,
    prompt_chunk: int = PROMPT_CHUNK,
    compact_every: int = COMPACT_EVERY,
) -> RolloutBatch:
    """Samples `params.n` responses for each prompt.

    The random number of row b at position t depends only on the generator's state, B, b and t: not on the lengths of
    other rows, `compact_every` or `prompt_chunk`. The generator always advances by max_tokens * B numbers.

    Args:
        policy: the policy.
        prompts: `types.Prompt` each.
        params: sampling parameters.
        generator: source of random numbers.
        progress: called with (tokens, max_tokens) every `compact_every` tokens.
        prompt_chunk: prompt tokens in one forward pass.
        compact_every: tokens between compactions of the batch.

    Returns:
        B = len(prompts) * params.n rows, in the order of the prompts.
    """
    with policy.autocast():
        return _Rollout(policy, list(prompts), params, generator).run(progress, prompt_chunk, compact_every)


def grade(
    rollouts: RolloutBatch,
    rewards: RewardManager,
    policy: Policy,
    config: Config,
    beginnings: Sequence[str] | None = None,
) -> RolloutBatch:
    """Adds scores to a batch.

    Args:
        rollouts: the batch.
        rewards: scores the responses.
        policy: decodes special tokens, if `worker.reward.skip_special_tokens` is false.
        config: the run's configuration.
        beginnings: for each prompt, text that is put in front of its responses before grading.
    """
    texts, lengths = rollouts.texts, rollouts.response_mask.sum(-1).tolist()
    if not config.worker.reward.skip_special_tokens:
        rows = [row[:length] for row, length in zip(rollouts.tokens.tolist(), lengths, strict=True)]
        texts = policy.tokenizer.batch_decode(rows, skip_special_tokens=False)
    groups = rollouts.group_ids.tolist()
    if beginnings is not None:
        texts = [beginnings[group] + text for group, text in zip(groups, texts, strict=True)]
    answers = [rollouts.prompts[group].problem.answer for group in groups]
    return replace(rollouts, scores=rewards.score(texts, lengths, answers))


class _Rollout:
    """State of a call of `generate`: the sampled tokens of each row, and the row in each slot of the running batch."""

    def __init__(self, policy: Policy, prompts: list, params: SamplingParams, generator: torch.Generator) -> None:
        self.policy, self.prompts, self.params = policy, prompts, params
        device, count, limit = policy.device, len(prompts) * params.n, params.max_tokens
        noise = torch.rand(limit, count, generator=generator, device=generator.device, dtype=torch.float64)
        self.noise = noise.to(device)
        self.tokens = torch.full((count, limit), policy.pad_id, device=device)
        self.response_mask = torch.zeros(count, limit, dtype=torch.bool, device=device)
        self.log_probs = torch.zeros(count, limit, device=device)
        self.entropy = torch.zeros(count, limit, device=device)
        self.finished = torch.zeros(count, dtype=torch.bool, device=device)
        self.rows = torch.arange(count, device=device)  # row of each slot
        self.bias = policy.visual.logit_bias(policy.vocab_size, device)
        self.eos = torch.tensor([] if params.ignore_eos else policy.eos_ids, dtype=torch.long, device=device)

    def run(self, progress: Callable[[int, int], None] | None, prompt_chunk: int, compact_every: int) -> RolloutBatch:
        params, limit = self.params, self.params.max_tokens
        hidden, cache, following = self._prefill(prompt_chunk)
        self.cache = ResponseCache(cache, params.n, limit)
        following = following.to(self.policy.device)
        hidden = hidden.repeat_interleave(params.n, 0)
        for step in range(limit):
            last = self._sample(hidden, step)
            if step + 1 == limit:
                break
            if (step + 1) % compact_every == 0:
                if progress is not None:
                    progress(step + 1, limit)
                kept = self._compact()
                if kept is None:
                    break
                last = last[kept]
            hidden = self._decode(last, following[self.rows // params.n] + step)
        if progress is not None:
            progress(limit, limit)
        return self._result()

    def _prefill(self, prompt_chunk: int) -> tuple[Tensor, PromptCache, Tensor]:
        """Last hidden states (P, hidden) of the prompts, their KV cache, and the positions after them (P,)."""
        policy = self.policy
        lengths = torch.tensor([len(p.input_ids) for p in self.prompts])
        cache, last, after = PromptCache(lengths, policy.device), [], []
        for first, stop in _chunks(lengths.tolist(), prompt_chunk):
            chunk = self.prompts[first:stop]
            positions, following = policy.prompt_positions(chunk)
            cache.begin(first, stop)
            hidden = policy.run_decoder(torch.cat(policy.embed_prompts(chunk)), torch.cat(positions, 1), cache)
            policy.prefill_calls += 1
            last.append(hidden[(lengths[first:stop].cumsum(0) - 1).to(policy.device)])
            after.append(following)
        return torch.cat(last), cache, torch.cat(after)

    def _sample(self, hidden: Tensor, step: int) -> Tensor:
        """Samples and records the next token of each slot, at position `step`; finished rows get padding."""
        params, rows = self.params, self.rows
        logits = self.policy.head(hidden)
        sampled = sample(logits + self.bias, self.noise[step, rows], params)
        log_probs, entropy = log_probs_and_entropy(
            logits, sampled, params.temperature or 1.0, entropy_temperature=params.entropy_temperature
        )
        alive = ~self.finished[rows]
        sampled = sampled.masked_fill(~alive, self.policy.pad_id)
        self.tokens[rows, step] = sampled
        self.response_mask[rows, step] = alive
        self.log_probs[rows, step] = log_probs.float() * alive
        self.entropy[rows, step] = entropy.float() * alive
        self.finished[rows] |= torch.isin(sampled, self.eos) & alive
        return sampled

    def _decode(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Hidden states (S, hidden) after one more token in every slot."""
        policy = self.policy
        self.cache.advance()
        policy.decode_calls += 1
        embeddings = policy.network.get_input_embeddings()(tokens)
        return policy.run_decoder(embeddings, positions.expand(policy.family.position_axes, -1), self.cache)

    def _compact(self) -> Tensor | None:
        """Drops finished rows if that saves enough.

        The batch remains a rectangle of prompts times slots: prompts without a running row are dropped, and each other
        prompt keeps as many slots as the prompt with the most running rows.

        Returns:
            Indices of the slots that remain; None if every row has finished.
        """
        per_prompt = self.cache.slots_per_prompt
        running = (~self.finished[self.rows]).cpu().view(-1, per_prompt)
        counts = running.sum(1)
        prompts = counts.nonzero().squeeze(-1)
        if not len(prompts):
            return None
        needed = int(counts.max())
        if len(prompts) * needed > COMPACT_BELOW * running.numel():
            return torch.arange(running.numel(), device=self.rows.device)
        first = running[prompts].int().argsort(dim=1, descending=True, stable=True)[:, :needed]
        slots = (prompts[:, None] * per_prompt + first.sort(1).values).flatten()
        self.cache.select(prompts, slots, needed)
        slots = slots.to(self.rows.device)
        self.rows = self.rows[slots]
        return slots

    def _result(self) -> RolloutBatch:
        lengths = self.response_mask.sum(1).tolist()
        width = max(lengths)
        tokens, mask = self.tokens[:, :width], self.response_mask[:, :width]
        policy = self.policy
        responses = [row[:length] for row, length in zip(tokens.tolist(), lengths, strict=True)]
        return RolloutBatch(
            prompts=self.prompts,
            group_ids=torch.arange(len(self.prompts), device=policy.device).repeat_interleave(self.params.n),
            tokens=tokens,
            response_mask=mask,
            text_mask=text_mask(tokens, mask, policy.visual, policy.special_ids),
            log_probs=self.log_probs[:, :width],
            entropy=self.entropy[:, :width],
            truncated=~self.finished,
            texts=policy.tokenizer.batch_decode(responses, skip_special_tokens=True),
        )


def _chunks(lengths: list[int], most: int) -> list[tuple[int, int]]:
    """Consecutive ranges (first, stop) of at most `most` tokens, or of one longer prompt."""
    chunks, first, total = [], 0, 0
    for i, length in enumerate(lengths):
        if i > first and total + length > most:
            chunks.append((first, i))
            first, total = i, 0
        total += length
    return [*chunks, (first, len(lengths))]
