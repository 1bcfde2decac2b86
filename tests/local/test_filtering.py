"""The groups that dynamic sampling keeps, and the sampling parameters of validation."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch

from echorl_vl.config import Config
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams, training_params, validation_params
from echorl_vl.engines.local.strategies.dynamic_sampling import DynamicSampling


@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [
        (0.01, 0.99, [1, 2, 3]),
        (0.0, 1.0, [1, 2, 3]),
        (0.25, 0.75, [2]),
        (0.24, 0.76, [1, 2, 3]),
        (-0.1, 1.1, [*range(5)]),
    ],
)
def test_both_bounds_of_the_filter_are_excluded_as_in_easyr1(low: float, high: float, kept: list[int]) -> None:
    """Five groups of four with means 0, 0.25, 0.5, 0.75, 1."""
    policy = tiny.text_policy()
    prompts = [tiny.prompt(text) for text in "abcde"]
    rollouts = generate(policy, prompts, SamplingParams(n=4, max_tokens=3), torch.Generator().manual_seed(0))
    rollouts.scores = [{"overall": float(row < group), "accuracy": 0.0} for group in range(5) for row in range(4)]
    settings = Config()
    settings.algorithm.filter_low, settings.algorithm.filter_high = low, high
    means: list[float] = []
    found = DynamicSampling(settings, SimpleNamespace(), None)._filtered(rollouts, False, means)
    assert means == [0, 0.25, 0.5, 0.75, 1]
    left = [prompt for part in found for prompt in part.prompts]
    assert [group for group, prompt in enumerate(prompts) if any(prompt is one for one in left)] == kept


def test_validation_at_temperature_0_is_greedy_and_training_is_not() -> None:
    settings = Config()
    settings.worker.rollout.val_override_config = {"temperature": 0.0}
    assert validation_params(settings).temperature == 0 and training_params(settings).temperature == 1
    policy, item = tiny.text_policy(), tiny.prompt("abc")
    params = SamplingParams(n=2, temperature=0.0, max_tokens=6, ignore_eos=True)
    rows = generate(policy, [item], params, torch.Generator().manual_seed(0)).tokens
    likeliest = tiny.naive_logits(policy, item, rows[0]) + policy.visual.logit_bias(policy.vocab_size, policy.device)
    assert torch.equal(rows[0], rows[1]) and torch.equal(rows[0], likeliest.argmax(-1))


def test_a_response_ends_at_its_first_end_token_even_with_ignore_eos() -> None:
    """EasyR1 samples further tokens, but neither grades them nor trains on them."""
    settings = Config()
    settings.worker.rollout.ignore_eos = True
    assert not training_params(settings).ignore_eos and not validation_params(settings).ignore_eos
