"""The echo term of the loss, and its coefficient over training.

    L = L_rlvr + lambda L_echo,    L_echo = (1 / denominator) sum over clips of weight * nll,
    nll of a clip of L text tokens = -(1 / L) sum of log_probs over them.

Mining combines weights and lengths in `token_weights`, so the sum is one product. The denominator counts the prompts
(or clips) of the *whole* optimizer step over all ranks, not of the micro-batch, so the accumulated gradient does not
depend on the split. It applies to the echo term alone; the policy term and the KL have their own denominators.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .config import EchoConfig


def echo_loss(log_probs: Tensor, token_weights: Tensor, denominator: float | Tensor) -> Tensor:
    """Compute the part of L_echo that this micro-batch contributes.

    Args:
        log_probs: any shape; never read where `token_weights` is 0, so padding may have any values.
        token_weights: the same shape; rows of `EchoClips.token_weights`.
        denominator: `echo_denominator` of the whole optimizer step.

    Returns:
        scalar; 0 with a gradient of 0 if the micro-batch has no clip.

    Raises:
        ValueError: the shapes differ, or the denominator is not positive.
    """
    if log_probs.shape != token_weights.shape:
        shapes = f"{tuple(log_probs.shape)} and {tuple(token_weights.shape)}"
        raise ValueError(f"echo_loss expected log_probs and token_weights of the same shape, got {shapes}")
    if not isinstance(denominator, Tensor) and not denominator > 0:
        raise ValueError(
            f"echo_loss expected a denominator > 0 (prompts or clips of the whole step), got {denominator}"
        )
    inside = torch.where(token_weights != 0, log_probs, 0.0)
    return -(inside * token_weights).sum() / denominator


def echo_denominator(config: EchoConfig, prompts: int, clips: int) -> int:
    """Return the denominator of L_echo: the prompts or the clips of the optimizer step over all ranks, at least 1."""
    return max(1, clips if config.normalize_by == "clips" else prompts)


def echo_coef(config: EchoConfig, step: int) -> float:
    """Return lambda at a training step.

    lambda is 0 before `start_step`. With w = warmup_steps and i = step - start_step, it is coef * (i + 1) / w for
    i < w, then coef times 1 (no decay), 1 - p (linear) or (1 + cos(pi p)) / 2 (cosine), with
    p = min(1, (i - w) / decay_steps).

    Args:
        step: number of training steps finished before this one; 0 for the first.
    """
    since = step - config.start_step
    if since < 0:
        return 0.0
    if since < config.warmup_steps:
        return config.coef * (since + 1) / config.warmup_steps
    if config.decay == "none":
        return config.coef
    progress = min(1.0, (since - config.warmup_steps) / config.decay_steps)
    factor = 1.0 - progress if config.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.coef * factor
