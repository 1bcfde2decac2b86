"""Token-level policy losses, their aggregation, and the KL penalty.

With r_t = pi(o_t) / pi_old(o_t) and advantage A, the loss of a token is

    default     -min(r A, clip(r, 1 - low, 1 + high) A), for A < 0 at most -c A (dual clip, arXiv 1912.09729)
    gspo        the same with r = exp(mean over the response of log r_t), one ratio per sequence (arXiv 2507.18071)
    gspo_token  the value of gspo, with the gradient through the log-prob of the token
    cispo       -A sg(clip(r)) log pi(o_t) (arXiv 2506.13585)
    sapo        -A (4 / tau) sigmoid(tau (r - 1)), tau by the sign of A (arXiv 2511.20347)

`aggregate` divides a sum over the micro-batch by a denominator of the *whole* optimizer step. The accumulated gradient
therefore does not depend on how the step is split into micro-batches, packed or distributed over ranks, nor on other
terms of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LOSS_TYPES = ("default", "gspo", "gspo_token", "cispo", "sapo")
KL_KINDS = ("kl", "abs", "mse", "low_var_kl")
_MAX_LOG_RATIO = 20.0  # larger values overflow in exp() and make the gradient nan


@dataclass(frozen=True)
class PolicyLoss:
    """Token-level results, all (B, T) and 0 outside the response."""

    loss: Tensor  # differentiable
    clipped_high: Tensor  # bool, the clip is active: r > 1 + high with A > 0, or r < 1 - low with A < 0
    clipped_low: Tensor  # bool, the dual clip is active (A < 0)
    kl: Tensor  # log pi_old - log pi, no gradient; its mean is the k1 estimate of KL(old || new)


def policy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    clip_dual: float = 3.0,
    loss_type: str = "default",
    tau_positive: float = 1.0,
    tau_negative: float = 1.05,
) -> PolicyLoss:
    """Compute the clipped policy loss of each token; see `aggregate` for the mean.

    Args:
        log_probs: (B, T) log-probs of the policy, with gradient.
        old_log_probs: (B, T) log-probs of the policy that sampled.
        advantages: (B,), (B, 1) or (B, T).
        response_mask: (B, T) bool. Values outside of it are never read, so padding may have any values, even nan.
        clip_low: the ratio is clipped to [1 - clip_low, 1 + clip_high].
        clip_high: see `clip_low`.
        clip_dual: c of the dual clip.
        loss_type: one of `LOSS_TYPES`.
        tau_positive: tau of sapo for A >= 0.
        tau_negative: tau of sapo for A < 0.

    Raises:
        ValueError: loss_type is unknown, or the shapes don't match.
    """
    if loss_type not in LOSS_TYPES:
        raise ValueError(f"expected a policy loss ({', '.join(LOSS_TYPES)}), got {loss_type!r}")
    if not log_probs.shape == old_log_probs.shape == response_mask.shape or log_probs.dim() != 2:
        shapes = [tuple(tensor.shape) for tensor in (log_probs, old_log_probs, response_mask)]
        raise ValueError(f"policy_loss expected log-probs and mask of the same shape (B, T), got {shapes}")
    mask = response_mask.bool()
    advantages = advantages[:, None] if advantages.dim() == 1 else advantages
    advantages = torch.where(mask, advantages, 0.0)
    log_probs = torch.where(mask, log_probs, 0.0)
    log_ratio = log_probs - torch.where(mask, old_log_probs, 0.0)
    ratio = _importance_log_ratio(log_ratio, log_probs, mask, loss_type).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)

    high = low = torch.zeros_like(mask)
    if loss_type == "cispo":
        loss = -advantages * clipped.detach() * log_probs
    elif loss_type == "sapo":
        tau = torch.where(advantages >= 0, tau_positive, tau_negative)
        loss = -advantages * torch.sigmoid(tau * (ratio - 1.0)) * 4.0 / tau
    else:
        plain, bounded, ceiling = -advantages * ratio, -advantages * clipped, -advantages * clip_dual
        pessimistic = torch.maximum(plain, bounded)
        loss = torch.where(advantages < 0, torch.minimum(pessimistic, ceiling), pessimistic)
        high = (plain < bounded) & mask
        low = (pessimistic > ceiling) & (advantages < 0) & mask
    return PolicyLoss(loss, high, low, -log_ratio.detach())


def _importance_log_ratio(log_ratio: Tensor, log_probs: Tensor, mask: Tensor, loss_type: str) -> Tensor:
    if loss_type not in ("gspo", "gspo_token"):
        return log_ratio
    sequence_mean = log_ratio.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    if loss_type == "gspo_token":
        return sequence_mean.detach() + log_probs - log_probs.detach()
    return sequence_mean.expand_as(log_ratio)


def aggregate(values: Tensor, mask: Tensor, mode: str, denominator: float | Tensor) -> Tensor:
    """Compute the part of a mean over the optimizer step that this micro-batch contributes.

    Args:
        values: (B, T) values of tokens; read only inside `mask`.
        mask: (B, T) bool.
        mode: "token": sum over tokens, with denominator = tokens in the masks of the whole step;
            "constant": the same sum, with denominator = rows of the whole step times the maximum response length, so
            that all tokens have the same weight in every step, whatever the lengths (Dr. GRPO, arXiv 2503.20783);
            "seq": sum over rows of the mean over the row's tokens, with denominator = rows of the whole step.
        denominator: see `mode`; `loss_denominator` computes it.

    Returns:
        scalar.

    Raises:
        ValueError: the mode is unknown, or the denominator is not positive.
    """
    _check_denominator(denominator)
    mask = mask.bool()
    values = torch.where(mask, values, 0.0)
    if mode in ("token", "constant"):
        return values.sum() / denominator
    if mode == "seq":
        return (values.sum(-1) / mask.sum(-1).clamp(min=1)).sum() / denominator
    raise ValueError(f"expected an aggregation (token, constant, seq), got {mode!r}")


def loss_denominator(mode: str, rows: int, tokens: int, longest: int) -> int:
    """Return the denominator for `aggregate`.

    Args:
        mode: token, constant or seq.
        rows: rows in the whole optimizer step.
        tokens: tokens in the masks of the whole optimizer step.
        longest: maximum response length in tokens.
    """
    return {"token": tokens, "seq": rows, "constant": rows * longest}[mode]


def kl_penalty(log_probs: Tensor, ref_log_probs: Tensor, kind: str = "low_var_kl") -> Tensor:
    """Estimate KL(pi || pi_ref) at each token, in nats (http://joschu.net/blog/kl-approx.html).

    Args:
        log_probs: (B, T) log-probs of the policy.
        ref_log_probs: (B, T) log-probs of the reference policy.
        kind: with d = log_probs - ref_log_probs, kl: d; abs: |d|; mse: d^2 / 2; low_var_kl: exp(-d) + d - 1, clamped to
            [-10, 10].

    Returns:
        (B, T) float32.

    Raises:
        ValueError: the kind is unknown.
    """
    difference = log_probs.float() - ref_log_probs.float()
    if kind == "kl":
        return difference
    if kind == "abs":
        return difference.abs()
    if kind == "mse":
        return 0.5 * difference.square()
    if kind == "low_var_kl":
        difference = difference.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
        return (torch.exp(-difference) + difference - 1.0).clamp(-10.0, 10.0)
    raise ValueError(f"expected a KL penalty ({', '.join(KL_KINDS)}), got {kind!r}")


def _check_denominator(denominator: float | Tensor) -> None:
    # A tensor is not checked: reading it would synchronize with the GPU.
    if not isinstance(denominator, Tensor) and not denominator > 0:
        raise ValueError(f"expected a denominator > 0 (tokens, rows or prompts of a whole step), got {denominator}")
