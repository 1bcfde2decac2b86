"""Which token ids stand for pictures, and which response tokens are text.

A visual token is one of the processor's image or video pad ids, vision start or vision end. The policy may never sample
one (the number of image tokens would differ from the number of image features), and none counts as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

# attribute of transformers' configs (4.57 and 5.x), and token of Qwen's tokenizers for what a config leaves out
_NAMES = {
    "image_pad": ("image_token_id", "<|image_pad|>"),
    "video_pad": ("video_token_id", "<|video_pad|>"),
    "vision_start": ("vision_start_token_id", "<|vision_start|>"),
    "vision_end": ("vision_end_token_id", "<|vision_end|>"),
}


@dataclass(frozen=True)
class VisualTokens:
    """Ids of a model's visual tokens; None where it has no such token (all None for a text-only model).

    `further` holds visual tokens without a role here, such as Qwen's `<|vision_pad|>`.
    """

    image_pad: int | None = None
    video_pad: int | None = None
    vision_start: int | None = None
    vision_end: int | None = None
    further: tuple[int, ...] = ()

    @classmethod
    def find(cls, config, tokenizer) -> VisualTokens:
        """Reads the ids from the model config, and from the tokenizer what the config leaves out.

        A config without a vision part and a tokenizer without `<|image_pad|>` give a text-only result. A text-only
        model whose tokenizer still knows the visual tokens (Qwen2.5 does) keeps their ids, so that it can't sample them
        either.
        """
        vocabulary = tokenizer.get_vocab()
        found = {}
        for role, (attribute, token) in _NAMES.items():
            value = getattr(config, attribute, None)
            found[role] = value if isinstance(value, int) else vocabulary.get(token)
        further = tuple(vocabulary[t] for t in ("<|vision_pad|>",) if t in vocabulary)
        return cls(**found, further=further)

    @property
    def ids(self) -> tuple[int, ...]:
        """All visual ids, ascending."""
        own = (self.image_pad, self.video_pad, self.vision_start, self.vision_end)
        return tuple(sorted({i for i in own if i is not None} | set(self.further)))

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
    """Id and text of each token that controls a chat or stands for a picture: no text of a data set may spell one.

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
        image_spans: (B, T) bool or None, positions that come from a picture in the middle of a trajectory, whatever
            their ids are.
    """
    mask = response_mask.bool() & ~visual.mask(tokens)
    if special_ids.numel():
        mask &= ~torch.isin(tokens, special_ids.to(tokens.device))
    if image_spans is not None:
        mask &= ~image_spans.bool()
    return mask
