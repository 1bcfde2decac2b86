"""LUFFY, SRFT and SFT, values and gradients, against loops over tokens."""

from __future__ import annotations

import math

import pytest
import torch

from echorl_vl.core import luffy_loss, nll, policy_loss, sft_loss, shaped_expert_loss, srft_loss

B, T = 5, 6
OWN = torch.tensor([True, True, False, True, False])
VERIFIED = torch.tensor([True, False, True, True, True])
MASK = torch.arange(T) < torch.tensor([6, 3, 5, 1, 4])[:, None]
ADVANTAGES = torch.tensor([0.5, -1.0, 2.0, 0.0, -0.7])


def tensors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log_probs with gradient, old log_probs, entropies; nan outside the responses, which nothing may read."""
    noise = torch.Generator().manual_seed(seed)
    log_probs, old = (-torch.rand(B, T, generator=noise, dtype=torch.float64) * 3 for _ in range(2))
    entropy = torch.rand(B, T, generator=noise, dtype=torch.float64)
    for values in (log_probs, old, entropy):
        values[~MASK] = math.nan
    old[~OWN] = math.nan  # nobody knows the expert's probabilities
    return log_probs.requires_grad_(), old, entropy


def clipped(log_prob, old, advantage, low=0.2, high=0.28):
    ratio = (log_prob - old).exp()
    bounded = ratio.clamp(1 - low, 1 + high)
    loss = torch.maximum(-advantage * ratio, -advantage * bounded)
    return loss.clamp(max=-advantage * 3.0) if advantage < 0 else loss


def naive(kind: str, log_probs, old, entropy) -> torch.Tensor:
    """The sum over all tokens, one by one."""
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
            elif OWN[row]:
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
def test_against_a_loop_over_tokens(kind, seed):
    log_probs, old, entropy = tensors(seed)
    shared = (log_probs, old, ADVANTAGES.double(), MASK, OWN)
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


def test_the_gradient_of_an_expert_token_is_A_times_f_prime_times_the_gradient_of_pi():
    """d(-A f(pi)) / d pi = -A gamma / (pi + gamma)^2, so descent raises pi by A f'(pi) grad pi."""
    pi = torch.tensor([[0.001, 0.05, 0.4, 0.99]], dtype=torch.float64, requires_grad=True)
    advantages, gamma = torch.tensor([1.7]), 0.1
    loss = shaped_expert_loss(pi.log(), advantages, torch.ones(1, 4), gamma)
    torch.testing.assert_close(loss, -1.7 * pi / (pi + gamma), check_dtype=False)
    (gradient,) = torch.autograd.grad(loss.sum(), pi)
    torch.testing.assert_close(gradient, -1.7 * gamma / (pi + gamma).square(), check_dtype=False)


def test_without_an_expert_luffy_is_grpo_bit_for_bit():
    log_probs, old, _ = tensors()
    old = torch.where(OWN[:, None], old, -1.0)
    own = torch.ones(B, dtype=torch.bool)
    one, other = (
        make(log_probs, old, ADVANTAGES, MASK, *rest) for make, rest in ((policy_loss, ()), (luffy_loss, (own,)))
    )
    for name in ("loss", "clipped_high", "clipped_low", "kl"):
        assert torch.equal(getattr(one, name)[MASK], getattr(other, name)[MASK])


def test_nothing_of_an_expert_row_is_clipped_or_counted_as_drift():
    log_probs, old, entropy = tensors()
    for found in (
        luffy_loss(log_probs, old, ADVANTAGES, MASK, OWN),
        srft_loss(log_probs, old, ADVANTAGES, MASK, OWN, VERIFIED, entropy),
    ):
        assert not found.clipped_high[~OWN].any() and not found.clipped_low[~OWN].any()
        assert (found.kl[~OWN] == 0).all()


def test_equal_rewards_leave_an_expert_row_without_a_gradient_under_luffy():
    log_probs, old, _ = tensors()
    found = luffy_loss(log_probs, old, torch.zeros(B), MASK, OWN)
    assert (torch.autograd.grad(found.loss.sum(), log_probs)[0] == 0).all()


def test_nll_and_bad_shaping():
    log_probs, _, _ = tensors()
    assert torch.equal(nll(log_probs, MASK)[MASK], -log_probs[MASK])
    with pytest.raises(ValueError, match="gamma > 0, got 0"):
        shaped_expert_loss(log_probs, ADVANTAGES, MASK, gamma=0)
