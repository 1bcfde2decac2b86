"""Which token ids stand for images, which end a response, and which response tokens are text.

A visual token is one of the processor's image or video pad ids, vision start or vision end. The policy may never sample
one (the number of image tokens would differ from the number of image features), and none counts as text.
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
    """ids: a model's visual tokens, ascending. image_pad: the one of them that stands for image features.

    None and () for a text-only model.
    """

    image_pad: int | None = None
    ids: tuple[int, ...] = ()

    @classmethod
    def find(cls, config: Any, tokenizer: Any) -> VisualTokens:
        """Reads the ids from the model's configuration (transformers'), and from the tokenizer what it leaves out.

        Without a configuration, or for a text-only model, they are those of any family that the tokenizer knows: the
        tokenizer of Qwen2.5 has visual tokens, which a text model may not sample either.
        """
        family = None if config is None else find_family(config)
        families = [family] if family is not None and family.reads_images else FAMILIES.values()
        vocabulary = tokenizer.get_vocab()

        def ids(names: Iterable[tuple[str | None, str] | None]) -> list[int]:
            found = [(getattr(config, name[0] or "", None), vocabulary.get(name[1])) for name in names if name]
            found = [own if isinstance(own, int) else known for own, known in found]
            return [token for token in found if token is not None]

        pads = ids(family.image_token for family in families)
        others = ids(name for family in families for name in family.other_visual_tokens)
        return cls(next(iter(pads), None), tuple(sorted({*pads, *others})))

    def mask(self, tokens: Tensor) -> Tensor:
        """True where a token (any shape, int64) is visual."""
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
    """(S,) int64, ascending: ids of the tokenizer's special tokens, those it names and those it only marks as such."""
    marked = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return torch.tensor(sorted(marked | set(tokenizer.all_special_ids)), dtype=torch.long)


def reserved_tokens(tokenizer) -> dict[int, str]:
    """Id and text of each token that controls a chat or stands for an image: no text of a data set may spell one.

    Some tokenizers don't mark all of theirs as special (`<|fim_pad|>`), so what looks like one counts too; `<think>`
    and `<tool_call>`, which a policy writes, don't.
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
    """(B, T) bool: response tokens that are text.

    Args:
        tokens: (B, T) int64 response tokens.
        response_mask: (B, T) bool, tokens that the policy wrote.
        visual: the model's visual tokens; they never count.
        special_ids: (S,) int64, ids of special tokens (end of turn, pad, ...); they are in `response_mask`, not in
            here.
        image_spans: (B, T) bool or None, positions that come from an image in the middle of a trajectory, whatever
            their ids are.
    """
    mask = response_mask.bool() & ~visual.mask(tokens)
    if special_ids.numel():
        mask &= ~torch.isin(tokens, special_ids.to(tokens.device))
    if image_spans is not None:
        mask &= ~image_spans.bool()
    return mask


def eos_ids(network: Any, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end a response, ascending: those of generation_config, the tokenizer's eos, and an end-of-turn token."""
    ids = set()
    configured = getattr(getattr(network, "generation_config", None), "eos_token_id", None)
    for value in (configured, tokenizer.eos_token_id):
        ids.update(value if isinstance(value, (list, tuple)) else [] if value is None else [value])
    vocabulary = tokenizer.get_vocab()
    ids.update(vocabulary[token] for token in _END_OF_TURN if token in vocabulary)
    if not ids:
        raise UserError("neither generation_config.json nor the tokenizer names an eos token: no response could end")
    return tuple(sorted(ids))


def end_of_turn(tokenizer: Any, ends: tuple[int, ...]) -> int:
    """The id that a demonstration ends with: what the chat template ends a turn with, else eos, else `ends[0]`."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    vocabulary = tokenizer.get_vocab()
    written = [vocabulary[token] for token in _END_OF_TURN if token in template and token in vocabulary]
    return next(iter([*written, tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else written), ends[0])
