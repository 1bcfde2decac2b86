"""Sampling parameters, and the sampling of tokens by inverse transform sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from echorl_vl.config import Config


@dataclass(frozen=True)
class SamplingParams:
    """Sampling parameters.

    Attributes:
        n: rollouts per prompt.
        temperature: divides the logits; 0 takes the most likely token and records log-probs and entropies at
            temperature 1.
        top_p: samples from the smallest set of most likely tokens with at least this probability.
        top_k: samples from this many most likely tokens; -1 or 0 is all.
        max_tokens: longest response.
        ignore_eos: whether to continue to max_tokens.
        entropy_temperature: temperature of the recorded entropies (echo.entropy_temperature); None is `temperature`.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    max_tokens: int = 512
    ignore_eos: bool = False
    entropy_temperature: float | None = None


def training_params(config: Config) -> SamplingParams:
    """Sampling parameters of training.

    `worker.rollout.ignore_eos` is not used: EasyR1 samples on, but grades and trains on the text up to the first end
    token.
    """
    rollout = config.worker.rollout
    return SamplingParams(
        n=rollout.n,
        temperature=rollout.temperature,
        top_p=rollout.top_p,
        top_k=rollout.top_k,
        max_tokens=config.data.max_response_length,
        entropy_temperature=config.echo.entropy_temperature,
    )


def validation_params(config: Config) -> SamplingParams:
    """Sampling parameters of validation: those of training with n = 1 and `worker.rollout.val_override_config`."""
    known = {"n", "temperature", "top_p", "top_k"}
    override = {key: value for key, value in config.worker.rollout.val_override_config.items() if key in known}
    return replace(training_params(config), **{"n": 1, **override})


def sample(logits: Tensor, uniform: Tensor, params: SamplingParams) -> Tensor:
    """Samples a token per row.

    The token is the first whose cumulative probability exceeds the uniform number, so tokens of probability 0 are never
    sampled, and a row depends on its own logits and number only. Probabilities are summed in float64: with a vocabulary
    of 150k, float32 would lose rare tokens.

    Args:
        logits: (S, V).
        uniform: (S,) in [0, 1).
        params: sampling parameters.

    Returns:
        (S,) int64 token ids.
    """
    if params.temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / params.temperature
    if 0 < params.top_k < logits.shape[-1]:
        least = logits.topk(params.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probs = torch.softmax(logits, -1)
    if params.top_p < 1:
        probs = _nucleus(probs, params.top_p)
    cumulative = probs.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    below = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    token = torch.searchsorted(cumulative, below, right=True).squeeze(-1)
    return token.clamp(max=logits.shape[-1] - 1)  # only NaN logits exceed it; the loss will not be finite


def _nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Sets all but the smallest set of most likely tokens with probability `top_p` to 0 (Holtzman et al., 2020)."""
    ordered, index = probs.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(probs).scatter(-1, index, ordered)
