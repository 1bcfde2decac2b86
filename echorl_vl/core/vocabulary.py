"""What each token of a vocabulary reads as: the table that lets a splitter work on text with one gather.

A list of ids such as "198 is a newline" misses merged tokens (".\\n", ")\\n\\n"), so every splitter asks this table,
which holds the decoded text of every id. It is built once per tokenizer (about two seconds for 150,000 ids) from
`batch_decode` or `decode` alone, so that it takes any tokenizer, byte-level or SentencePiece, without importing one.

Two things that decoding token by token gets wrong are mended here:
- SentencePiece tokenizers drop one space before what they decode, so every token is decoded behind an anchor token.
- A token may hold part of a UTF-8 character and reads as U+FFFD alone. `pieces` decodes a run of such tokens together
  and gives each character to the token that completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

REPLACEMENT = "\ufffd"
_MAX_RUN = 64  # a run of invalid bytes is decoded again for each of its tokens, so its length is bounded


class TokenTable:
    """Decoded text of every token id, with flags that are gathered as tensors.

    Args:
        texts: text of token id i at index i.
        decode: list of ids -> text; decodes runs of tokens that hold parts of one character.
    """

    def __init__(self, texts: Sequence[str], decode: Callable[[list[int]], str] | None = None):
        self.texts = list(texts)
        self._decode = decode or (lambda ids: "".join(self.text(token) for token in ids))
        self._newline = self.flag(lambda text: "\n" in text)
        self._word = self.flag(_has_word)
        self._partial = self.flag(lambda text: REPLACEMENT in text)

    @classmethod
    def from_tokenizer(cls, source: Any) -> TokenTable:
        """`source` if it is a table, else one from a tokenizer: `__len__` and `batch_decode` or `decode`."""
        if isinstance(source, cls):
            return source
        if not (hasattr(source, "batch_decode") or hasattr(source, "decode")):
            raise ValueError(f"a splitter needs a tokenizer with decode() and len(); got {type(source).__name__}")
        return cls(_all_texts(source), lambda ids: _decode_many(source, [ids])[0])

    def __len__(self) -> int:
        return len(self.texts)

    def text(self, token: int) -> str:
        """Text of one id; empty for ids outside the vocabulary (padding, unused rows of an embedding)."""
        return self.texts[token] if 0 <= token < len(self.texts) else ""

    def flag(self, holds: Callable[[str], bool], unknown: bool = False) -> Tensor:
        """(V + 1,) bool: `holds(text)` for each id; the last entry stands for every id outside the vocabulary."""
        return torch.tensor([bool(holds(text)) for text in self.texts] + [unknown], dtype=torch.bool)

    def gather(self, flag: Tensor, tokens: Tensor) -> Tensor:
        """`flag` of every token, in the shape of `tokens` and on its device."""
        if tokens.numel() == 0:
            return torch.zeros_like(tokens, dtype=torch.bool)
        low, high = torch.aminmax(tokens)
        if low < 0 or high >= len(self.texts):
            tokens = torch.where((tokens < 0) | (tokens >= len(self.texts)), len(self.texts), tokens)
        return flag.to(tokens.device).index_select(0, tokens.flatten()).view(tokens.shape)

    def newline(self, tokens: Tensor) -> Tensor:
        """(B, T) bool: the token's text contains a newline."""
        return self.gather(self._newline, tokens)

    def word(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        """(B, T) bool: the token is in `text_mask` and holds a letter or a digit (Unicode's), or a part of one."""
        word = self.gather(self._word, tokens) & text_mask
        partial = self.gather(self._partial, tokens) & text_mask
        seen: dict[tuple[int, ...], list[bool]] = {}
        for row in partial.any(1).nonzero().flatten().tolist():
            places = text_mask[row].nonzero().squeeze(1)
            for run in _consecutive(partial[row, places].nonzero().flatten().tolist()):
                at = places[run]
                ids = tuple(tokens[row, at].tolist())
                if ids not in seen:
                    seen[ids] = self._word_of_run(ids)
                word[row, at] = torch.tensor(seen[ids], device=word.device)
        return word

    def _word_of_run(self, tokens: Sequence[int]) -> list[bool]:
        """The same for a run of tokens that hold parts of characters: each has what the character that it opens has."""
        pieces = self.pieces(tokens)
        word = [_has_word(piece) for piece in pieces]
        for place in range(len(word) - 2, -1, -1):
            if not pieces[place]:
                word[place] = word[place + 1]
        return word

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """What each token adds to the text; a multi-byte character goes to the token that completes it."""
        pieces = [self.text(token) for token in tokens]
        start = 0
        while start < len(pieces):
            if REPLACEMENT not in pieces[start]:
                start += 1
                continue
            start = self._resolve_run(tokens, pieces, start)
        return pieces

    def _resolve_run(self, tokens: Sequence[int], pieces: list[str], start: int) -> int:
        """Rewrite `pieces` for the run of partial characters that begins at `start`; return where it ends."""
        shown, end = "", start
        while end < len(pieces) and REPLACEMENT in pieces[end] and end - start < _MAX_RUN:
            end += 1
            whole = self._decode(list(tokens[start:end]))
            is_done = whole.rstrip(REPLACEMENT)  # a trailing U+FFFD may still be completed by the next token
            pieces[end - 1] = is_done[len(shown) :]
            shown = is_done if len(is_done) > len(shown) else shown
            if is_done == whole:
                return end
        pieces[end - 1] += whole[len(shown) :]
        return end


def _has_word(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _consecutive(numbers: Sequence[int]) -> list[list[int]]:
    """Runs of numbers that follow each other by 1."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _all_texts(tokenizer: Any) -> list[str]:
    size = len(tokenizer)
    if hasattr(tokenizer, "get_vocab"):  # ids may have gaps, and then reach beyond len()
        size = max(size, 1 + max(tokenizer.get_vocab().values(), default=-1))
    texts = _decode_many(tokenizer, [[token] for token in range(size)])
    anchor = next((token for token, text in enumerate(texts) if len(text) == 1 and text.isalpha()), None)
    if anchor is None:
        return texts
    behind = _decode_many(tokenizer, [[anchor, token] for token in range(size)])
    head = texts[anchor]
    return [pair[len(head) :] if pair.startswith(head) else text for pair, text in zip(behind, texts, strict=True)]


def _decode_many(tokenizer: Any, sequences: list[list[int]]) -> list[str]:
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    try:
        return _call_decode(tokenizer, sequences, options)
    except TypeError:  # a plain tokenizer without transformers' options
        return _call_decode(tokenizer, sequences, {})


def _call_decode(tokenizer: Any, sequences: list[list[int]], options: dict[str, bool]) -> list[str]:
    if hasattr(tokenizer, "batch_decode"):
        return list(tokenizer.batch_decode(sequences, **options))
    return [tokenizer.decode(sequence, **options) for sequence in sequences]
