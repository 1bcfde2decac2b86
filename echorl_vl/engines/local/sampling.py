"""How rollouts are sampled, and one token per row from logits, by inverse transform sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from echorl_vl.config import Config


@dataclass(frozen=True)
class SamplingParams:
    """How rollouts are sampled.

    n: rollouts per prompt. temperature: divides the logits; 0 takes the likeliest token, log_probs and entropies are
    then those at temperature 1. top_p: smallest set of likeliest tokens with at least this probability. top_k: number
    of likeliest tokens, -1 (or 0) for all. max_tokens: longest response. ignore_eos: go on to max_tokens.
    entropy_temperature: for the recorded entropies, where it is to be another one (echo.entropy_temperature).
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    max_tokens: int = 512
    ignore_eos: bool = False
    entropy_temperature: float | None = None


def training_params(config: Config) -> SamplingParams:
    """How training rollouts are sampled.

    Without `ignore_eos`: EasyR1 samples on, but grades and trains on what stands before the first end token.
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
    """As in training, one response a problem, and what `worker.rollout.val_override_config` changes."""
    known = {"n", "temperature", "top_p", "top_k"}
    override = {key: value for key, value in config.worker.rollout.val_override_config.items() if key in known}
    return replace(training_params(config), **{"n": 1, **override})


def sample(logits: Tensor, uniform: Tensor, params: SamplingParams) -> Tensor:
    """(S,) int64 token ids from logits (S, V), one uniform number in [0, 1) per row.

    A token is sampled where the cumulative probability passes the uniform number, so a token of probability 0 never is,
    and a row's draw depends on its own logits and number only. Cumulated in float64: with 150k tokens, float32 would
    lose the rare ones.
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
    return token.clamp(max=logits.shape[-1] - 1)  # only NaN logits get there: the loss will tell


def _nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Keeps the smallest set of likeliest tokens with probability `top_p` (Holtzman et al., 2020), 0 elsewhere."""
    ordered, index = probs.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(probs).scatter(-1, index, ordered)
