"""Values and gradients of the LUFFY, SRFT and SFT losses compared with loops over tokens."""

from __future__ import annotations

import math

import pytest
import torch

from echorl_vl.core import luffy_loss, nll, policy_loss, sft_loss, shaped_off_policy_loss, srft_loss

B, T = 5, 6
ON_POLICY = torch.tensor([True, True, False, True, False])
VERIFIED = torch.tensor([True, False, True, True, True])
MASK = torch.arange(T) < torch.tensor([6, 3, 5, 1, 4])[:, None]
ADVANTAGES = torch.tensor([0.5, -1.0, 2.0, 0.0, -0.7])


def tensors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log_probs with gradient, old log_probs and entropies; nan outside the responses, where they must not be read."""
    noise = torch.Generator().manual_seed(seed)
    log_probs, old = (-torch.rand(B, T, generator=noise, dtype=torch.float64) * 3 for _ in range(2))
    entropy = torch.rand(B, T, generator=noise, dtype=torch.float64)
    for values in (log_probs, old, entropy):
        values[~MASK] = math.nan
    old[~ON_POLICY] = math.nan  # the probabilities of the demonstrations' author are unknown
    return log_probs.requires_grad_(), old, entropy


def clipped(log_prob, old, advantage, low=0.2, high=0.28):
    ratio = (log_prob - old).exp()
    bounded = ratio.clamp(1 - low, 1 + high)
    loss = torch.maximum(-advantage * ratio, -advantage * bounded)
    return loss.clamp(max=-advantage * 3.0) if advantage < 0 else loss


def naive(kind: str, log_probs, old, entropy) -> torch.Tensor:
    """The loss, summed token by token."""
    total = 0.0
    for row in range(B):
        tokens = [t for t in range(T) if MASK[row, t]]
        uncertainty = sum(float(entropy[row, t]) for t in tokens) / len(tokens)
        advantage = float(ADVANTAGES[row])
        for t in tokens:
            prob = log_probs[row, t].exp()
            shaped = -advantage * prob / (prob + 0.1)
            if kind == "sft":
                total = total - log_probs[row, t]
            elif ON_POLICY[row]:
                if kind == "srft":
                    advantage = 0.1 * math.exp(uncertainty) if VERIFIED[row] else -1.0
                total = total + clipped(log_probs[row, t], old[row, t], advantage)
            else:
                total = total + shaped
                if kind == "srft":
                    total = total - 0.5 * math.exp(-uncertainty) * log_probs[row, t]
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["luffy", "srft", "sft"])
def test_losses_and_gradients_equal_those_of_a_loop(kind, seed):
    log_probs, old, entropy = tensors(seed)
    shared = (log_probs, old, ADVANTAGES.double(), MASK, ON_POLICY)
    clip = {"clip_low": 0.2, "clip_high": 0.28}
    if kind == "luffy":
        found = luffy_loss(*shared, **clip)
    elif kind == "srft":
        found = srft_loss(*shared, VERIFIED, entropy, **clip)
    else:
        found = sft_loss(log_probs, MASK)
    expected = naive(kind, log_probs, old, entropy)
    torch.testing.assert_close(found.loss.sum(), expected)
    ours, theirs = (torch.autograd.grad(loss, log_probs)[0] for loss in (found.loss.sum(), expected))
    torch.testing.assert_close(ours[MASK], theirs[MASK])
    assert (ours[~MASK] == 0).all()


def test_the_gradient_of_the_shaped_loss_equals_the_formula():
    """d(-A f(pi)) / d pi = -A gamma / (pi + gamma)^2."""
    pi = torch.tensor([[0.001, 0.05, 0.4, 0.99]], dtype=torch.float64, requires_grad=True)
    advantages, gamma = torch.tensor([1.7]), 0.1
    loss = shaped_off_policy_loss(pi.log(), advantages, torch.ones(1, 4), gamma)
    torch.testing.assert_close(loss, -1.7 * pi / (pi + gamma), check_dtype=False)
    (gradient,) = torch.autograd.grad(loss.sum(), pi)
    torch.testing.assert_close(gradient, -1.7 * gamma / (pi + gamma).square(), check_dtype=False)


def test_luffy_without_demonstrations_equals_grpo_bit_for_bit():
    log_probs, old, _ = tensors()
    old = torch.where(ON_POLICY[:, None], old, -1.0)
    grpo = policy_loss(log_probs, old, ADVANTAGES, MASK)
    luffy = luffy_loss(log_probs, old, ADVANTAGES, MASK, torch.ones(B, dtype=torch.bool))
    for name in ("loss", "clipped_high", "clipped_low", "kl"):
        assert torch.equal(getattr(grpo, name)[MASK], getattr(luffy, name)[MASK])


def test_off_policy_rows_have_no_clipped_tokens_and_no_kl():
    log_probs, old, entropy = tensors()
    for result in (
        luffy_loss(log_probs, old, ADVANTAGES, MASK, ON_POLICY),
        srft_loss(log_probs, old, ADVANTAGES, MASK, ON_POLICY, VERIFIED, entropy),
    ):
        assert not result.clipped_high[~ON_POLICY].any() and not result.clipped_low[~ON_POLICY].any()
        assert (result.kl[~ON_POLICY] == 0).all()


def test_off_policy_rows_have_no_gradient_under_luffy_if_all_rewards_are_equal():
    log_probs, old, _ = tensors()
    result = luffy_loss(log_probs, old, torch.zeros(B), MASK, ON_POLICY)
    assert (torch.autograd.grad(result.loss.sum(), log_probs)[0] == 0).all()


def test_nll_is_the_negative_log_prob():
    log_probs, _, _ = tensors()
    assert torch.equal(nll(log_probs, MASK)[MASK], -log_probs[MASK])


def test_a_gamma_that_is_not_positive_is_an_error():
    log_probs, _, _ = tensors()
    with pytest.raises(ValueError, match="gamma > 0, got 0"):
        shaped_off_policy_loss(log_probs, ADVANTAGES, MASK, gamma=0)
