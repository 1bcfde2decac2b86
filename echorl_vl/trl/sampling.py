"""Prevent visual tokens from being sampled.

A completion with visual tokens has image tokens without image features, which makes the update fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl import GRPOTrainer

from echorl_vl.errors import UserError

VLLM_BIAS = -100.0
"""The lowest logit bias that vLLM accepts."""

_FORCING = ("forced_bos_token_id", "forced_eos_token_id", "forced_decoder_ids")


def forbid_tokens(trainer: GRPOTrainer, ids: Sequence[int]) -> None:
    """Prevent a trainer from sampling the tokens `ids`, with transformers or vLLM and with any generation_kwargs.

    Has no effect on a rollout function, which samples by itself.

    Raises:
        UserError: generation_kwargs force one of the tokens.
    """
    if not ids:
        return
    kwargs = trainer.args.generation_kwargs or {}
    forced = {name: kwargs[name] for name in _FORCING if _ids_in(kwargs.get(name)) & set(ids)}
    if set(trainer.eos_token_ids) & set(ids):
        forced["eos_token_id"] = trainer.eos_token_ids
    if forced:
        raise UserError(f"generation_kwargs: expected no visual token ({list(ids)}), got {forced}")
    if trainer.use_vllm:
        generation = trainer.vllm_generation
        generation.generation_kwargs = with_logit_bias(generation.generation_kwargs, ids)
        return
    suppressed = sorted(_ids_in(trainer.generation_config.suppress_tokens) | set(ids))
    trainer.generation_config.suppress_tokens = suppressed
    # TRL overrides the model's generation config with these while it samples.
    trainer.generation_kwargs = {**trainer.generation_kwargs, "suppress_tokens": suppressed}


def with_logit_bias(generation_kwargs: dict[str, Any] | None, ids: Sequence[int]) -> dict[str, Any]:
    """Return vLLM's sampling parameters with an additional logit bias for `ids`."""
    kwargs = dict(generation_kwargs or {})
    bias = {int(token): value for token, value in (kwargs.get("logit_bias") or {}).items()}
    return {**kwargs, "logit_bias": bias | dict.fromkeys(ids, VLLM_BIAS)}


def _ids_in(value: Any) -> set[int]:
    """Return the token ids in a (nested) sequence of ids."""
    if value is None:
        return set()
    if isinstance(value, int):
        return {value}
    return set().union(*(_ids_in(part) for part in value))
