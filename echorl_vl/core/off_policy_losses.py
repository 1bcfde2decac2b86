"""Policy losses that learn from demonstrations as well: LUFFY, SRFT, and plain supervised fine-tuning.

A demonstration is an off-policy row of its prompt's group. The policy did not sample it, and its author's probabilities
are unknown, so they are taken as 1 and there is nothing to clip. With the policy's probability pi of a token and the
group's advantage A, the losses of a token are

    luffy   on-policy rows: the clipped policy loss                                              (arXiv 2504.14945)
            off-policy rows: -A f(pi),  f(x) = x / (x + gamma)
    srft    on-policy rows: the clipped policy loss with advantage 0.1 e^H where the answer is   (arXiv 2506.19767)
            correct, -1 where it is incorrect
            off-policy rows: -0.5 e^-H log pi - A f(pi)
    sft     -log pi

H is the mean entropy of the row under the policy, nats, without gradient. It is taken row by row, not over whatever
happens to share a micro-batch, so that the loss is the same however a step is split.

f weighs tokens that the policy finds unlikely more than pi itself does: f'(pi) = gamma / (pi + gamma)^2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .policy_losses import PolicyLoss, policy_loss


def shaped_expert_loss(log_probs: Tensor, advantages: Tensor, mask: Tensor, gamma: float = 0.1) -> Tensor:
    """(B, T) -A f(pi) of each token, 0 outside `mask`; f(pi) = pi / (pi + gamma) = sigmoid(log pi - log gamma).

    Args:
        log_probs: (B, T) of the policy, with gradient; read inside `mask` (B, T) only.
        advantages: (B,), (B, 1) or (B, T).

    Raises:
        ValueError: gamma is not above 0.
    """
    if not gamma > 0:
        raise ValueError(f"the shaping x / (x + gamma) needs gamma > 0, got {gamma}")
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
    """LUFFY's mixed-policy loss of each token; without an off-policy row it is `policy_loss`, bit for bit.

    Args:
        log_probs: as `policy_loss` takes it, and so are the next three and `clip`.
        old_log_probs: those of off-policy rows are never read.
        advantages: (B, T).
        response_mask: (B, T) bool.
        on_policy: (B,) bool, False for demonstrations.
    """
    own = policy_loss(log_probs, old_log_probs, advantages, _rows(response_mask, on_policy), **clip)
    off_policy = _rows(response_mask, ~on_policy.bool())
    return _join(own, shaped_expert_loss(log_probs, advantages, off_policy, gamma), on_policy)


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
    """SRFT's loss of each token: supervised and reinforced at once, weighed by the policy's entropy.

    Args:
        on_policy: (B,) bool, the policy sampled the row.
        verified: (B,) bool, its answer is correct.
        entropy: (B, T) nats, of the policy now; its gradient is not used.

    The others are as in `luffy_loss`.
    """
    mask = response_mask.bool()
    uncertainty = torch.where(mask, entropy.detach(), 0.0).sum(-1) / mask.sum(-1).clamp(min=1)  # H of each row
    own_advantages = torch.where(verified.bool(), positive_weight * uncertainty.exp(), -1.0)
    own = policy_loss(log_probs, old_log_probs, own_advantages, _rows(mask, on_policy), **clip)
    off_policy = _rows(mask, ~on_policy.bool())
    imitation = sft_weight * (-uncertainty).exp()[:, None] * nll(log_probs, off_policy)
    return _join(own, imitation + shaped_expert_loss(log_probs, advantages, off_policy, gamma), on_policy)


def nll(log_probs: Tensor, mask: Tensor) -> Tensor:
    """(B, T) -log pi of each token inside `mask`, 0 elsewhere: the loss of supervised fine-tuning."""
    return -torch.where(mask.bool(), log_probs, 0.0)


def sft_loss(log_probs: Tensor, response_mask: Tensor) -> PolicyLoss:
    """Supervised fine-tuning in the form of a policy loss: `nll`, and nothing clipped."""
    nothing = torch.zeros_like(response_mask, dtype=torch.bool)
    return PolicyLoss(nll(log_probs, response_mask), nothing, nothing, torch.zeros_like(log_probs))


def _per_token(advantages: Tensor) -> Tensor:
    return advantages[:, None] if advantages.dim() == 1 else advantages


def _rows(mask: Tensor, rows: Tensor) -> Tensor:
    return mask.bool() & rows.bool()[:, None]


def _join(own: PolicyLoss, off_policy: Tensor, on_policy: Tensor) -> PolicyLoss:
    """Loss of on-policy rows from `own`, of the others from `off_policy`; the clip and the KL are of on-policy rows."""
    on_policy = on_policy.bool()[:, None]
    return PolicyLoss(
        torch.where(on_policy, own.loss, off_policy),
        own.clipped_high & on_policy,
        own.clipped_low & on_policy,
        torch.where(on_policy, own.kl, 0.0),
    )
