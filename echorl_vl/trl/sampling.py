"""Visual tokens are never sampled: one that is makes image tokens and image features differ, and the update crash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl import GRPOTrainer

from echorl_vl.errors import UserError

VLLM_BIAS = -100.0
"""Nats; the lowest logit bias that vLLM applies."""

_FORCING = ("forced_bos_token_id", "forced_eos_token_id", "forced_decoder_ids")


def forbid(trainer: GRPOTrainer, ids: Sequence[int]) -> None:
    """Keeps the trainer's own sampling, by transformers or by vLLM, from drawing `ids`, whatever else is asked of it.

    A rollout function samples by itself, out of reach.

    Raises:
        UserError: what the user asks for forces one of them.
    """
    if not ids:
        return
    asked = trainer.args.generation_kwargs or {}
    forced = {name: asked[name] for name in _FORCING if _ids_in(asked.get(name)) & set(ids)}
    if set(trainer.eos_token_ids) & set(ids):
        forced["eos_token_id"] = trainer.eos_token_ids
    if forced:
        raise UserError(f"generation_kwargs: got {forced}, but the visual tokens {list(ids)} must never be sampled")
    if trainer.use_vllm:
        generation = trainer.vllm_generation
        generation.generation_kwargs = with_bias(generation.generation_kwargs, ids)
        return
    suppressed = sorted(_ids_in(trainer.generation_config.suppress_tokens) | set(ids))
    trainer.generation_config.suppress_tokens = suppressed
    # TRL lays these over the configuration of the model while it samples.
    trainer.generation_kwargs = {**trainer.generation_kwargs, "suppress_tokens": suppressed}


def with_bias(generation_kwargs: dict[str, Any] | None, ids: Sequence[int]) -> dict[str, Any]:
    """vLLM's sampling parameters with a logit bias on `ids` as well."""
    kwargs = dict(generation_kwargs or {})
    bias = {int(token): value for token, value in (kwargs.get("logit_bias") or {}).items()}
    return {**kwargs, "logit_bias": bias | dict.fromkeys(ids, VLLM_BIAS)}


def _ids_in(value: Any) -> set[int]:
    """The token ids in what transformers takes for one, several or pairs of them."""
    if value is None:
        return set()
    if isinstance(value, int):
        return {value}
    return set().union(*(_ids_in(part) for part in value))
