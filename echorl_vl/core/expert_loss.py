"""Policy losses that learn from an expert's traces as well: LUFFY, SRFT, and plain supervised fine-tuning.

A trace is a row of its prompt's group. It was not drawn from the policy, and its author's probabilities are unknown, so
they are taken as 1 and there is nothing to clip. With the policy's probability pi of an expert token and the group's
advantage A, the losses of a token are

    luffy   own rows: the clipped policy loss;  expert rows: -A f(pi),  f(x) = x / (x + gamma)   (arXiv 2504.14945)
    srft    own rows: the clipped policy loss with advantage 0.1 e^H where the answer is right, -1 where it is wrong;
            expert rows: -0.5 e^-H log pi - A f(pi)                                              (arXiv 2506.19767)
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
        raise ValueError(f"the shaping x / (x + gamma) needs gamma > 0, found {gamma}")
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
    """LUFFY's mixed-policy loss of each token; without an expert row it is `policy_loss`, bit for bit.

    Args:
        log_probs, old_log_probs, advantages, response_mask, clip: as `policy_loss` takes them. old_log_probs of expert
            rows are never read.
        on_policy: (B,) bool, False for rows that an expert wrote.
    """
    own = policy_loss(log_probs, old_log_probs, advantages, _rows(response_mask, on_policy), **clip)
    expert = _rows(response_mask, ~on_policy.bool())
    return _join(own, shaped_expert_loss(log_probs, advantages, expert, gamma), on_policy)


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
        on_policy, verified: (B,) bool, row drawn from the policy; answer right.
        entropy: (B, T) nats, of the policy now; its gradient is not used.
        The rest as in `luffy_loss`.
    """
    mask = response_mask.bool()
    uncertainty = torch.where(mask, entropy.detach(), 0.0).sum(-1) / mask.sum(-1).clamp(min=1)  # H of each row
    own_advantages = torch.where(verified.bool(), positive_weight * uncertainty.exp(), -1.0)
    own = policy_loss(log_probs, old_log_probs, own_advantages, _rows(mask, on_policy), **clip)
    expert = _rows(mask, ~on_policy.bool())
    imitation = sft_weight * (-uncertainty).exp()[:, None] * nll(log_probs, expert)
    return _join(own, imitation + shaped_expert_loss(log_probs, advantages, expert, gamma), on_policy)


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


def _join(own: PolicyLoss, expert: Tensor, on_policy: Tensor) -> PolicyLoss:
    """Own rows of `own`, the others of `expert`; what was clipped, and the KL to the old policy, are of own rows."""
    on_policy = on_policy.bool()[:, None]
    return PolicyLoss(
        torch.where(on_policy, own.loss, expert),
        own.clipped_high & on_policy,
        own.clipped_low & on_policy,
        torch.where(on_policy, own.kl, 0.0),
    )
