"""The echo term of the loss, and its coefficient over training.

    L = L_rlvr + lambda L_echo,    L_echo = (1 / denominator) sum over clips of weight * nll,
    nll of a clip of L text tokens = -(1 / L) sum of log_probs over them.

Mining has folded weights and lengths into `token_weights`, so the sum is one product. The denominator counts prompts
(or clips) of the *whole* optimizer step over all ranks, not of the micro-batch: gradients then add up to the same
under any split. It is the echo term's own; the policy term and KL keep theirs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .config import EchoConfig


def echo_loss(log_probs: Tensor, token_weights: Tensor, denominator: float | Tensor) -> Tensor:
    """Share of this micro-batch in L_echo; a scalar that is 0 (with a gradient of 0) where no clip is.

    Args:
        log_probs: any shape; never read where `token_weights` is 0, so padding may hold anything.
        token_weights: the same shape, the rows of `EchoClips.token_weights`.
        denominator: `echo_denominator` of the whole optimizer step.

    Raises:
        ValueError: shapes that differ, or a denominator that isn't positive.
    """
    if log_probs.shape != token_weights.shape:
        shapes = f"{tuple(log_probs.shape)} and {tuple(token_weights.shape)}"
        raise ValueError(f"echo_loss needs log_probs and token_weights of one shape, got {shapes}")
    if not isinstance(denominator, Tensor) and not denominator > 0:
        raise ValueError(f"echo_loss needs a denominator > 0 (prompts or clips of the whole step), got {denominator}")
    inside = torch.where(token_weights != 0, log_probs, 0.0)
    return -(inside * token_weights).sum() / denominator


def echo_denominator(config: EchoConfig, prompts: int, clips: int) -> int:
    """What L_echo of an optimizer step is divided by: its prompts, or its clips (at least 1), over all ranks."""
    return max(1, clips if config.normalize_by == "clips" else prompts)


def echo_coef(config: EchoConfig, step: int) -> float:
    """lambda at a training step: 0 before `start_step`, a linear rise over `warmup_steps`, `coef`, then the decay.

    Args:
        step: training steps finished before this one; 0 for the first.

    With w = warmup_steps and i = step - start_step: coef * (i + 1) / w for i < w, then coef, times 1 - p (linear) or
    (1 + cos(pi p)) / 2 (cosine), where p = (i - w) / decay_steps goes from 0 to 1 and stays there.
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
