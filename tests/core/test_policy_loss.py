"""Policy losses compared with a loop over tokens; aggregation; KL estimates."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import KL_KINDS, LOSS_TYPES, aggregate, kl_penalty, policy_loss

COMMON = settings(deadline=None, max_examples=50, database=None)
LOW, HIGH, DUAL, TAU_POSITIVE, TAU_NEGATIVE = 0.2, 0.28, 3.0, 1.0, 1.05


def naive_policy_loss(log_probs, old, advantages, mask, loss_type):
    """Token by token with torch scalars, so that the result has gradients."""
    loss = torch.zeros_like(old)
    high, low = torch.zeros_like(mask), torch.zeros_like(mask)
    for row in range(len(old)):
        places = mask[row].nonzero().flatten().tolist()
        mean = sum((log_probs[row, t] - old[row, t] for t in places), torch.zeros(())) / max(1, len(places))
        for t in places:
            log_ratio = log_probs[row, t] - old[row, t]
            if loss_type == "gspo":
                log_ratio = mean
            elif loss_type == "gspo_token":
                log_ratio = mean.detach() + log_probs[row, t] - log_probs[row, t].detach()
            ratio, a = log_ratio.exp(), advantages[row, t]
            clipped = ratio.clamp(1 - LOW, 1 + HIGH)
            if loss_type == "cispo":
                value = -a * clipped.detach() * log_probs[row, t]
            elif loss_type == "sapo":
                tau = TAU_POSITIVE if a >= 0 else TAU_NEGATIVE
                value = -a * 4 / tau * torch.sigmoid(tau * (ratio - 1))
            else:
                value = -a * ratio
                if -a * clipped > value:
                    value, high[row, t] = -a * clipped, True
                if a < 0 and value > -a * DUAL:
                    value, low[row, t] = -a * DUAL, True
            loss[row, t] = value
    return loss, high, low


@st.composite
def ragged(draw):
    rows, length, seed = draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(0, 10**6))
    generator = torch.Generator().manual_seed(seed)
    log_probs, old = torch.randn(2, rows, length, generator=generator, dtype=torch.float64) * 1.2 - 1
    mask = torch.rand(rows, length, generator=generator) < 0.8
    levels = torch.randn(rows, length if draw(st.booleans()) else 1, generator=generator, dtype=torch.float64)
    advantages = levels * (torch.rand(levels.shape, generator=generator) < 0.8)
    return log_probs, old, advantages, mask


@COMMON
@given(ragged(), st.sampled_from(LOSS_TYPES))
def test_losses_and_gradients_equal_those_of_a_loop(case, loss_type):
    log_probs, old, advantages, mask = case
    ours, plain = log_probs.clone().requires_grad_(), log_probs.clone().requires_grad_()
    found = policy_loss(ours, old, advantages, mask, LOW, HIGH, DUAL, loss_type, TAU_POSITIVE, TAU_NEGATIVE)
    loss, high, low = naive_policy_loss(plain, old, advantages.expand_as(old), mask, loss_type)
    torch.testing.assert_close(found.loss, loss)
    assert torch.equal(found.clipped_high, high) and torch.equal(found.clipped_low, low)
    torch.testing.assert_close(found.kl, torch.where(mask, old - log_probs, 0.0))
    (found.loss.sum() + 0 * ours.sum()).backward()
    (loss.sum() + 0 * plain.sum()).backward()
    torch.testing.assert_close(ours.grad, plain.grad)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_padding_is_never_read(loss_type):
    log_probs = torch.tensor([[-1.0, torch.nan, -torch.inf]], requires_grad=True)
    old = torch.tensor([[-1.1, 0.0, torch.nan]])  # a ratio inside the clip
    mask = torch.tensor([[True, False, False]])
    found = policy_loss(log_probs, old, torch.tensor([0.7]), mask, loss_type=loss_type)
    found.loss.sum().backward()
    assert found.loss[0, 1:].tolist() == [0.0, 0.0] and found.kl[0, 1:].tolist() == [0.0, 0.0]
    assert log_probs.grad[0, 0] != 0 and log_probs.grad[0, 1:].tolist() == [0.0, 0.0]


def test_extreme_ratios_keep_a_finite_gradient():
    log_probs = torch.tensor([[0.0, -500.0]], requires_grad=True)
    found = policy_loss(log_probs, torch.tensor([[-500.0, 0.0]]), torch.tensor([[-1.0, 1.0]]), torch.ones(1, 2))
    found.loss.sum().backward()
    assert found.loss.isfinite().all() and log_probs.grad.isfinite().all()


@COMMON
@given(ragged(), st.sampled_from(["token", "seq"]))
def test_aggregate_equals_a_loop_and_does_not_depend_on_the_split(case, mode):
    values, _, _, mask = case
    tokens, rows = int(mask.sum()), len(mask)
    denominator = max(1, tokens) if mode == "token" else rows
    found = aggregate(values, mask, mode, denominator)
    parts = [values[row][mask[row]] for row in range(rows)]
    if mode == "token":
        expected = sum(part.sum() for part in parts) / denominator
    else:
        expected = sum(part.sum() / max(1, len(part)) for part in parts) / rows
    torch.testing.assert_close(found, expected)
    split = sum(aggregate(values[row, None], mask[row, None], mode, denominator) for row in range(rows))
    torch.testing.assert_close(split, expected)


def test_kl_penalties_equal_the_formulas():
    log_probs = torch.tensor([[-1.0, -2.0, -30.0, -0.5]], requires_grad=True)
    reference = torch.tensor([[-1.5, -2.0, -0.1, -40.0]])
    differences = [0.5, 0.0, -29.9, 39.5]
    expected = {
        "kl": differences,
        "abs": [abs(d) for d in differences],
        "mse": [d * d / 2 for d in differences],
        "low_var_kl": [math.exp(-0.5) + 0.5 - 1, 0.0, 10.0, 10.0],
    }
    for kind in KL_KINDS:
        found = kl_penalty(log_probs, reference, kind)
        torch.testing.assert_close(found.detach(), torch.tensor([expected[kind]]))
        (gradient,) = torch.autograd.grad(found.sum(), log_probs)
        assert gradient.isfinite().all()
    assert kl_penalty(log_probs.bfloat16(), reference.bfloat16()).dtype == torch.float32


def test_invalid_arguments_are_errors():
    two, mask = torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(ValueError, match="default, gspo, gspo_token, cispo, sapo"):
        policy_loss(two, two, torch.zeros(2), mask, loss_type="ppo")
    with pytest.raises(ValueError, match="the same shape"):
        policy_loss(two, torch.zeros(2, 4), torch.zeros(2), mask)
    with pytest.raises(ValueError, match="token, constant, seq"):
        aggregate(two, mask, "mean", 1)
    with pytest.raises(ValueError, match="got 0"):
        aggregate(two, mask, "token", 0)
    with pytest.raises(ValueError, match="low_var_kl"):
        kl_penalty(two, two, "full")
