"""Policy losses that also learn from demonstrations: LUFFY, SRFT and supervised fine-tuning.

A demonstration is an off-policy row in the group of its prompt. The probabilities of its author are unknown; they are
taken as 1, and the ratio is not clipped. With the policy's probability pi of a token and the advantage A of its row,
the losses of a token are

    luffy   on-policy rows: the clipped policy loss                                              (arXiv 2504.14945)
            off-policy rows: -A f(pi),  f(x) = x / (x + gamma)
    srft    on-policy rows: the clipped policy loss with advantage 0.1 e^H where the answer is   (arXiv 2506.19767)
            correct, -1 where it is incorrect
            off-policy rows: -0.5 e^-H log pi - A f(pi)
    sft     -log pi

H is the mean entropy of the row under the policy in nats, without gradient. It is a mean over the row, not over the
micro-batch, so that the loss does not depend on how a step is split.

Compared with f(pi) = pi, the shaping f increases the gradient of unlikely tokens: f'(pi) = gamma / (pi + gamma)^2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .policy_losses import PolicyLoss, policy_loss


def shaped_off_policy_loss(log_probs: Tensor, advantages: Tensor, mask: Tensor, gamma: float = 0.1) -> Tensor:
    """Compute -A f(pi) of each token, where f(pi) = pi / (pi + gamma) = sigmoid(log pi - log gamma).

    Args:
        log_probs: (B, T) log-probs of the policy, with gradient; read only inside `mask`.
        advantages: (B,), (B, 1) or (B, T).
        mask: (B, T) bool.
        gamma: constant of the shaping, > 0.

    Returns:
        (B, T), 0 outside `mask`.

    Raises:
        ValueError: gamma is not positive.
    """
    if not gamma > 0:
        raise ValueError(f"the shaping x / (x + gamma) expected gamma > 0, got {gamma}")
    mask = mask.bool()
    advantages = torch.where(mask, _per_token(advantages), 0.0)
    return -advantages * torch.sigmoid(torch.where(mask, log_probs, 0.0) - math.log(gamma))


def luffy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    on_policy: Tensor,
    gamma: float = 0.1,
    **clip: Any,
) -> PolicyLoss:
    """Compute LUFFY's mixed-policy loss of each token.

    Without off-policy rows it equals `policy_loss` bit for bit.

    Args:
        log_probs: (B, T) log-probs of the policy, with gradient.
        old_log_probs: (B, T) log-probs of the policy that sampled; never read in off-policy rows.
        advantages: (B,), (B, 1) or (B, T).
        response_mask: (B, T) bool.
        on_policy: (B,) bool, False for demonstrations.
        gamma: constant of the shaping, see `shaped_off_policy_loss`.
        **clip: the other arguments of `policy_loss`.
    """
    on_policy_loss = policy_loss(log_probs, old_log_probs, advantages, _rows(response_mask, on_policy), **clip)
    off_policy = _rows(response_mask, ~on_policy.bool())
    return _join(on_policy_loss, shaped_off_policy_loss(log_probs, advantages, off_policy, gamma), on_policy)


def srft_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    on_policy: Tensor,
    verified: Tensor,
    entropy: Tensor,
    gamma: float = 0.1,
    sft_weight: float = 0.5,
    positive_weight: float = 0.1,
    **clip: Any,
) -> PolicyLoss:
    """Compute SRFT's loss of each token: supervised and policy-gradient terms, weighted by the policy's entropy.

    Args:
        log_probs: (B, T) log-probs of the policy, with gradient.
        old_log_probs: (B, T) log-probs of the policy that sampled; never read in off-policy rows.
        advantages: (B,), (B, 1) or (B, T), of off-policy rows.
        response_mask: (B, T) bool.
        on_policy: (B,) bool, False for demonstrations.
        verified: (B,) bool, the answer is correct.
        entropy: (B, T) nats, entropy of the current policy; its gradient is not used.
        gamma: constant of the shaping, see `shaped_off_policy_loss`.
        sft_weight: weight of the supervised term in off-policy rows.
        positive_weight: weight of the advantage of correct on-policy rows.
        **clip: the other arguments of `policy_loss`.
    """
    mask = response_mask.bool()
    uncertainty = torch.where(mask, entropy.detach(), 0.0).sum(-1) / mask.sum(-1).clamp(min=1)  # H of each row
    on_policy_advantages = torch.where(verified.bool(), positive_weight * uncertainty.exp(), -1.0)
    on_policy_loss = policy_loss(log_probs, old_log_probs, on_policy_advantages, _rows(mask, on_policy), **clip)
    off_policy = _rows(mask, ~on_policy.bool())
    imitation = sft_weight * (-uncertainty).exp()[:, None] * nll(log_probs, off_policy)
    off_policy_loss = imitation + shaped_off_policy_loss(log_probs, advantages, off_policy, gamma)
    return _join(on_policy_loss, off_policy_loss, on_policy)


def nll(log_probs: Tensor, mask: Tensor) -> Tensor:
    """(B, T) -log pi of each token inside `mask`, 0 elsewhere: the loss of supervised fine-tuning."""
    return -torch.where(mask.bool(), log_probs, 0.0)


def sft_loss(log_probs: Tensor, response_mask: Tensor) -> PolicyLoss:
    """Compute `nll` as a `PolicyLoss` without clipped tokens."""
    nothing = torch.zeros_like(response_mask, dtype=torch.bool)
    return PolicyLoss(nll(log_probs, response_mask), nothing, nothing, torch.zeros_like(log_probs))


def _per_token(advantages: Tensor) -> Tensor:
    return advantages[:, None] if advantages.dim() == 1 else advantages


def _rows(mask: Tensor, rows: Tensor) -> Tensor:
    return mask.bool() & rows.bool()[:, None]


def _join(on_policy_loss: PolicyLoss, off_policy_loss: Tensor, on_policy: Tensor) -> PolicyLoss:
    """Combine the losses of on-policy and off-policy rows; off-policy rows have no clipped tokens and a KL of 0."""
    on_policy = on_policy.bool()[:, None]
    return PolicyLoss(
        torch.where(on_policy, on_policy_loss.loss, off_policy_loss),
        on_policy_loss.clipped_high & on_policy,
        on_policy_loss.clipped_low & on_policy,
        torch.where(on_policy, on_policy_loss.kl, 0.0),
    )
