"""Rollouts record the numbers of a teacher-forced pass of transformers, and sample as their parameters say."""

from __future__ import annotations

import math

import pytest
import tiny_models as tiny
import torch

from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams, sample


def roll(policy, prompts, seed=0, **options):
    params = {"n": 3, "max_tokens": 24, "temperature": 0.9} | options
    engine = {k: params.pop(k) for k in ("compact_every", "prompt_chunk", "progress") if k in params}
    return generate(policy, prompts, SamplingParams(**params), torch.Generator().manual_seed(seed), **engine)


def furthest_from_teacher(policy, batch, temperature) -> float:
    """The largest difference of a recorded log-prob or entropy from that of a teacher-forced pass."""
    worst = 0.0
    for row, length in enumerate(batch.response_mask.sum(1).tolist()):
        response = batch.tokens[row, :length]
        with torch.no_grad():
            naive = tiny.naive_forward(policy, batch.prompts[int(batch.group_ids[row])], response, temperature)
        for recorded, expected in zip((batch.log_probs, batch.entropy), naive, strict=True):
            worst = max(worst, float((recorded[row, :length] - expected).abs().max()))
            assert not recorded[row, length:].any()
    return worst


def prefer(policy, ids, logit: float) -> None:
    """Adds a bias to the logits of some tokens, in rollouts and in the naive pass."""
    original, wish = policy.head.forward, torch.zeros(policy.vocab_size)
    wish[list(ids)] = logit
    policy.head.forward = lambda hidden: original(hidden) + wish


@pytest.mark.parametrize(
    "options", [{}, {"top_p": 0.8}, {"top_k": 5}, {"temperature": 1.7, "ignore_eos": True}, {"compact_every": 2}]
)
def test_recorded_numbers_equal_those_of_a_teacher_forced_pass(vl, mixed_prompts, options):
    batch = roll(vl, mixed_prompts, **options)
    assert batch.tokens.shape[0] == 12 and batch.group_ids.tolist() == [g for g in range(4) for _ in range(3)]
    assert furthest_from_teacher(vl, batch, options.get("temperature", 0.9)) < 1e-4


def test_entropies_can_have_another_temperature(vl, mixed_prompts):
    batch = roll(vl, mixed_prompts, max_tokens=6)
    other = roll(vl, mixed_prompts, max_tokens=6, entropy_temperature=2.0)
    assert torch.equal(batch.tokens, other.tokens) and torch.equal(batch.log_probs, other.log_probs)
    with torch.no_grad():
        for row in range(12):
            response = batch.tokens[row, batch.response_mask[row]]
            expected = tiny.naive_forward(vl, mixed_prompts[row // 3], response, 2.0)[1]
            assert torch.allclose(other.entropy[row, : len(response)], expected, atol=1e-4)


def test_recorded_numbers_without_images_equal_those_of_a_teacher_forced_pass(any_policy, text_prompts):
    batch = roll(any_policy, text_prompts, n=4)
    assert furthest_from_teacher(any_policy, batch, 0.9) < 1e-4


@pytest.fixture(scope="module")
def ender():
    """A policy that ends most of its responses early."""
    policy = tiny.text_policy(spread=0.1)
    prefer(policy, [tiny.token_id("<|im_end|>")], 3.0)
    return policy


def test_rows_end_at_eos_and_others_are_marked_truncated(ender, text_prompts):
    batch = roll(ender, text_prompts, n=16, max_tokens=20)
    end = tiny.token_id("<|im_end|>")
    lengths = batch.response_mask.sum(1)
    assert int((lengths < 20).sum()) > 1 and int(batch.truncated.sum()) > 0
    assert batch.tokens.shape[1] == int(lengths.max())
    for row, length in enumerate(lengths.tolist()):
        ids = batch.tokens[row]
        assert batch.response_mask[row].tolist() == [i < length for i in range(len(ids))]
        assert end not in ids[: length - 1].tolist()
        assert bool(batch.truncated[row]) == (int(ids[length - 1]) != end)
        assert (ids[length:] == ender.pad_id).all()
        shown = batch.text_mask[row].nonzero().squeeze(-1)
        assert set(shown.tolist()) == {i for i in range(length) if int(ids[i]) not in ender.special_ids}
        assert batch.texts[row] == tiny.tokenizer().decode(ids[:length], skip_special_tokens=True)
    assert furthest_from_teacher(ender, batch, 0.9) < 1e-4


def test_ignore_eos_samples_up_to_the_limit(ender, text_prompts):
    batch = roll(ender, text_prompts, n=4, max_tokens=12, ignore_eos=True)
    assert batch.response_mask.all() and batch.truncated.all()
    assert (batch.tokens == tiny.token_id("<|im_end|>")).any()


def test_neither_compaction_nor_prefill_chunks_change_the_rollouts(ender, text_prompts):
    plain = roll(ender, text_prompts, n=16, max_tokens=40, compact_every=1000)
    for options in ({"compact_every": 1}, {"compact_every": 3, "prompt_chunk": 1}):
        other = roll(ender, text_prompts, n=16, max_tokens=40, **options)
        assert torch.equal(other.tokens, plain.tokens)
        assert torch.allclose(other.log_probs, plain.log_probs, atol=1e-5)


def test_finished_rows_leave_the_batch(ender, text_prompts):
    """The number of slots decreases, and decoding ends with the last row."""
    slots = []
    original = ender.run_decoder

    def counting(embeddings, positions, layout):
        slots.append(len(embeddings))
        return original(embeddings, positions, layout)

    ender.run_decoder = counting
    try:
        batch = roll(ender, text_prompts[:1] * 8, n=8, max_tokens=200, compact_every=1)
    finally:
        del ender.run_decoder
    decode = slots[1:]
    running = [int((batch.response_mask.sum(1) > step + 1).sum()) for step in range(len(decode))]
    assert decode[0] <= 64 and decode[-1] < 64
    assert len(decode) == int(batch.response_mask.sum(1).max()) - 1
    assert all(a >= b for a, b in zip(decode, running, strict=True))


def test_the_same_seed_gives_the_same_rollouts_bit_for_bit(vl, mixed_prompts):
    first, again, other = (roll(vl, mixed_prompts, seed=seed) for seed in (1, 1, 2))
    for name in ("tokens", "log_probs", "entropy", "response_mask", "truncated"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert first.texts == again.texts
    assert not torch.equal(first.tokens[:, :8], other.tokens[:, :8])


def test_the_generator_advances_by_the_same_amount_whatever_is_sampled(ender, vl, text_prompts):
    states = []
    for policy in (ender, vl):
        generator = torch.Generator().manual_seed(3)
        generate(policy, text_prompts, SamplingParams(n=4, max_tokens=16), generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_temperature_0_is_greedy(vl, mixed_prompts):
    batch = roll(vl, mixed_prompts, n=2, temperature=0.0)
    assert torch.equal(batch.tokens[::2], batch.tokens[1::2])
    assert furthest_from_teacher(vl, batch, 1.0) < 1e-4
    for row, item in zip(range(0, 8, 2), mixed_prompts, strict=True):
        response = batch.tokens[row, batch.response_mask[row]]
        with torch.no_grad():
            logits = tiny.naive_logits(vl, item, response)
        assert torch.equal(logits.masked_fill(vl.visual.mask(torch.arange(272)), -math.inf).argmax(-1), response)


def test_visual_tokens_are_never_sampled_and_recorded_numbers_have_no_bias(mixed_prompts):
    policy = tiny.vl_policy(seed=5)
    prefer(policy, policy.visual.ids, 30.0)
    for options in ({}, {"temperature": 0.0}, {"top_k": 3}, {"top_p": 0.5}):
        batch = roll(policy, mixed_prompts, **options)
        assert not policy.visual.mask(batch.tokens).any()
        # Nearly all probability is on visual tokens, so log-probs over the full vocabulary are low.
        assert float(batch.log_probs[batch.response_mask].max()) < -5
        assert furthest_from_teacher(policy, batch, options.get("temperature", 0.9) or 1.0) < 1e-4


def test_each_image_and_each_prompt_is_computed_once(mixed_prompts):
    policy = tiny.vl_policy()
    tokens = []
    original = policy.run_decoder
    policy.run_decoder = lambda e, p, layout: (tokens.append(len(e)), original(e, p, layout))[1]
    batch = roll(policy, mixed_prompts, n=5, max_tokens=6, ignore_eos=True)
    assert (policy.vision_calls, policy.vision_images) == (1, 4)
    assert (policy.prefill_calls, policy.decode_calls, policy.forward_calls) == (1, 5, 0)
    assert tokens == [sum(len(p.input_ids) for p in mixed_prompts)] + [20] * 5
    roll(policy, [mixed_prompts[0], mixed_prompts[0], mixed_prompts[3]], n=2, max_tokens=2)
    assert policy.vision_images == 4 + 2
    assert batch.tokens.shape == (20, 6)


def test_progress_is_reported(vl, text_prompts):
    reported = []
    roll(vl, text_prompts, max_tokens=20, ignore_eos=True, progress=lambda *counts: reported.append(counts))
    assert reported == [(8, 20), (16, 20), (20, 20)]


def test_responses_may_have_one_token(vl, mixed_prompts):
    batch = roll(vl, mixed_prompts, max_tokens=1)
    assert batch.tokens.shape == (12, 1)
    assert furthest_from_teacher(vl, batch, 0.9) < 1e-4


def distribution(logits: torch.Tensor, params: SamplingParams, draws: int = 4000) -> torch.Tensor:
    """Token frequencies over evenly spaced uniform numbers, exact to 1 / draws."""
    uniform = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    sampled = sample(logits.expand(draws, -1), uniform, params)
    return torch.bincount(sampled, minlength=logits.shape[-1]) / draws


def test_sampling_follows_the_distribution():
    logits = torch.tensor([1.0, -1.0, 0.5, -math.inf, 2.0, 0.0, -math.inf])
    for temperature in (0.5, 1.0, 2.0):
        got = distribution(logits, SamplingParams(temperature=temperature))
        assert torch.allclose(got, torch.softmax(logits / temperature, 0), atol=1e-3)


def test_top_k_and_top_p_keep_the_most_likely_tokens():
    probs = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])
    assert torch.allclose(
        distribution(probs.log(), SamplingParams(top_k=2)), torch.tensor([0, 4 / 7, 0, 3 / 7, 0]), atol=1e-3
    )
    expected = torch.tensor([0, 0.4, 0, 0.3, 0.15]) / 0.85  # 0.4 + 0.3 < 0.75, so a third token is kept
    assert torch.allclose(distribution(probs.log(), SamplingParams(top_p=0.75)), expected, atol=1e-3)
    only = distribution(probs.log(), SamplingParams(top_p=1e-6))
    assert only.tolist() == [0, 1, 0, 0, 0]


def test_a_token_of_probability_0_is_not_sampled_at_the_ends_of_the_interval():
    logits = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]]).expand(3, -1)
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert sample(logits, uniform, SamplingParams()).tolist() == [1, 2, 2]
