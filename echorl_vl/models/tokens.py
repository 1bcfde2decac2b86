"""Token ids: visual tokens, special tokens, end tokens, and the text tokens of a response.

Visual tokens are the image and video pad tokens and the vision start and end tokens. The policy must never sample them,
because the number of image tokens would then differ from the number of image features. They do not count as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from echorl_vl.errors import UserError
from echorl_vl.models.base import FAMILIES, find_family

_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")


@dataclass(frozen=True)
class VisualTokens:
    """Visual tokens of a model.

    Attributes:
        image_pad: id of the token that image features replace; None if there is none.
        ids: ids of all visual tokens, ascending.
    """

    image_pad: int | None = None
    ids: tuple[int, ...] = ()

    @classmethod
    def find(cls, config: Any, tokenizer: Any) -> VisualTokens:
        """Read the ids from the transformers configuration of the model, or else from the tokenizer.

        Without a configuration, or for a text-only model, these are the visual tokens of all families that the
        tokenizer has: the tokenizer of Qwen2.5 has visual tokens, which a text-only model must not sample either.
        """
        family = None if config is None else find_family(config)
        families = [family] if family is not None and family.reads_images else FAMILIES.values()
        vocabulary = tokenizer.get_vocab()

        def ids(names: Iterable[tuple[str | None, str] | None]) -> list[int]:
            pairs = [(getattr(config, name[0] or "", None), vocabulary.get(name[1])) for name in names if name]
            tokens = [configured if isinstance(configured, int) else listed for configured, listed in pairs]
            return [token for token in tokens if token is not None]

        pads = ids(family.image_token for family in families)
        others = ids(name for family in families for name in family.other_visual_tokens)
        return cls(next(iter(pads), None), tuple(sorted({*pads, *others})))

    def mask(self, tokens: Tensor) -> Tensor:
        """Return whether each token (int64, any shape) is visual."""
        if not self.ids:
            return torch.zeros_like(tokens, dtype=torch.bool)
        return torch.isin(tokens, torch.tensor(self.ids, device=tokens.device))

    def logit_bias(self, vocab_size: int, device: torch.device | str = "cpu") -> Tensor:
        """(vocab_size,) float32: -inf on the visual ids, 0 elsewhere; added to logits before sampling."""
        bias = torch.zeros(vocab_size, device=device)
        ids = [i for i in self.ids if i < vocab_size]
        bias[ids] = float("-inf")
        return bias


def special_token_ids(tokenizer) -> Tensor:
    """(S,) int64, ascending: ids of the named special tokens and of the added tokens that are marked as special."""
    marked = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return torch.tensor(sorted(marked | set(tokenizer.all_special_ids)), dtype=torch.long)


def reserved_tokens(tokenizer) -> dict[int, str]:
    """Return the text of each control or image token by id; texts of a data set must not contain them.

    Some tokenizers don't mark all control tokens as special (`<|fim_pad|>`), so added tokens of the form `<|...|>` are
    included. Tokens that a policy may generate, such as `<think>` and `<tool_call>`, are not.
    """
    added = {token_id: token.content for token_id, token in tokenizer.added_tokens_decoder.items()}
    marked = {token_id for token_id, text in added.items() if re.fullmatch(r"<\|.*\|>", text)}
    ids = marked | set(special_token_ids(tokenizer).tolist()) | set(VisualTokens.find(None, tokenizer).ids)
    return {token_id: added.get(token_id) or tokenizer.convert_ids_to_tokens(token_id) for token_id in sorted(ids)}


def text_mask(
    tokens: Tensor,
    response_mask: Tensor,
    visual: VisualTokens,
    special_ids: Tensor,
    image_spans: Tensor | None = None,
) -> Tensor:
    """Return the response tokens that are text.

    Args:
        tokens: (B, T) int64 response tokens.
        response_mask: (B, T) bool, tokens that the policy generated.
        visual: the visual tokens of the model, which are not text.
        special_ids: (S,) int64, ids of special tokens (end of turn, padding, ...), which are not text.
        image_spans: (B, T) bool, positions of an image in the middle of a trajectory, which are not text whatever their
            ids. None: no image.

    Returns:
        (B, T) bool.
    """
    mask = response_mask.bool() & ~visual.mask(tokens)
    if special_ids.numel():
        mask &= ~torch.isin(tokens, special_ids.to(tokens.device))
    if image_spans is not None:
        mask &= ~image_spans.bool()
    return mask


def eos_ids(network: Any, tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that end a response, ascending: eos of generation_config and tokenizer, and end-of-turn tokens.

    Raises:
        UserError: there is no such id.
    """
    ids = set()
    configured = getattr(getattr(network, "generation_config", None), "eos_token_id", None)
    for value in (configured, tokenizer.eos_token_id):
        ids.update(value if isinstance(value, (list, tuple)) else [] if value is None else [value])
    vocabulary = tokenizer.get_vocab()
    ids.update(vocabulary[token] for token in _END_OF_TURN if token in vocabulary)
    if not ids:
        raise UserError("expected an eos token in generation_config.json or the tokenizer, got none")
    return tuple(sorted(ids))


def end_of_turn(tokenizer: Any, ends: tuple[int, ...]) -> int:
    """Return the end token of demonstrations: the end-of-turn token of the chat template, else eos, else `ends[0]`."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    vocabulary = tokenizer.get_vocab()
    in_template = [vocabulary[token] for token in _END_OF_TURN if token in template and token in vocabulary]
    candidates = [*in_template, tokenizer.eos_token_id, ends[0]]
    return next(token for token in candidates if token is not None)
