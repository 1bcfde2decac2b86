"""`TokenTable`: the decoded text of each token id, so that splitters look text up with one gather.

A list of newline ids ("198 is a newline") would miss merged tokens (".\\n", ")\\n\\n"), so splitters look at the text
of each token. The table is built once per tokenizer (about two seconds for 150,000 ids). It needs only `batch_decode`
or `decode`, so any tokenizer works, byte-level or SentencePiece.

Decoding token by token has two pitfalls, which the table avoids:
- SentencePiece tokenizers drop the first space of the decoded text, so each token is decoded after an anchor token.
- A token may contain only part of a UTF-8 character, which decodes to U+FFFD. `pieces` decodes a run of such tokens
  together and assigns each character to the token that completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

REPLACEMENT = "\ufffd"
_MAX_RUN = 64  # a run of invalid bytes is decoded once per token, so its length is bounded


class TokenTable:
    """Decoded text of every token id, and per-token flags as tensors.

    Args:
        texts: the text of token id i at index i.
        decode: maps a list of ids to text; used for runs of tokens that contain parts of characters. Joins `texts` by
            default.
    """

    def __init__(self, texts: Sequence[str], decode: Callable[[list[int]], str] | None = None):
        self.texts = list(texts)
        self._decode = decode or (lambda ids: "".join(self.text(token) for token in ids))
        self._newline = self.flag(lambda text: "\n" in text)
        self._word = self.flag(_has_word)
        self._partial = self.flag(lambda text: REPLACEMENT in text)

    @classmethod
    def from_tokenizer(cls, source: Any) -> TokenTable:
        """Build the table of a tokenizer (`__len__`, and `batch_decode` or `decode`); return a table unchanged.

        Raises:
            ValueError: `source` is neither a table nor a tokenizer.
        """
        if isinstance(source, cls):
            return source
        if not (hasattr(source, "batch_decode") or hasattr(source, "decode")):
            raise ValueError(f"expected a tokenizer with len() and decode(), got {type(source).__name__}")
        return cls(_all_texts(source), lambda ids: _decode_many(source, [ids])[0])

    def __len__(self) -> int:
        return len(self.texts)

    def text(self, token: int) -> str:
        """Return the text of an id; empty for ids outside the vocabulary (padding, unused embedding rows)."""
        return self.texts[token] if 0 <= token < len(self.texts) else ""

    def flag(self, predicate: Callable[[str], bool], unknown: bool = False) -> Tensor:
        """(V + 1,) bool: `predicate(text)` of each id; the last entry is for all ids outside the vocabulary."""
        return torch.tensor([bool(predicate(text)) for text in self.texts] + [unknown], dtype=torch.bool)

    def gather(self, flag: Tensor, tokens: Tensor) -> Tensor:
        """Look up `flag` (V + 1,) for each token; the result has the shape and device of `tokens`."""
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
        """(B, T) bool: the token is in `text_mask` and contains a Unicode letter or digit, or part of one."""
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
        """`word` for a run of tokens with parts of characters: each token counts as the character that it starts."""
        pieces = self.pieces(tokens)
        word = [_has_word(piece) for piece in pieces]
        for place in range(len(word) - 2, -1, -1):
            if not pieces[place]:
                word[place] = word[place + 1]
        return word

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return the text that each token adds; a multi-byte character goes to the token that completes it."""
        pieces = [self.text(token) for token in tokens]
        start = 0
        while start < len(pieces):
            if REPLACEMENT not in pieces[start]:
                start += 1
                continue
            start = self._resolve_run(tokens, pieces, start)
        return pieces

    def _resolve_run(self, tokens: Sequence[int], pieces: list[str], start: int) -> int:
        """Rewrite `pieces` for the run of partial characters that begins at `start`; return the end of the run."""
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
    """Split ascending numbers into runs of consecutive integers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _all_texts(tokenizer: Any) -> list[str]:
    size = len(tokenizer)
    if hasattr(tokenizer, "get_vocab"):  # with gaps between ids, the highest id exceeds len()
        size = max(size, 1 + max(tokenizer.get_vocab().values(), default=-1))
    texts = _decode_many(tokenizer, [[token] for token in range(size)])
    anchor = next((token for token, text in enumerate(texts) if len(text) == 1 and text.isalpha()), None)
    if anchor is None:
        return texts
    pairs = _decode_many(tokenizer, [[anchor, token] for token in range(size)])
    head = texts[anchor]
    return [pair[len(head) :] if pair.startswith(head) else text for pair, text in zip(pairs, texts, strict=True)]


def _decode_many(tokenizer: Any, sequences: list[list[int]]) -> list[str]:
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    try:
        return _call_decode(tokenizer, sequences, options)
    except TypeError:  # a tokenizer without the options of transformers
        return _call_decode(tokenizer, sequences, {})


def _call_decode(tokenizer: Any, sequences: list[list[int]], options: dict[str, bool]) -> list[str]:
    if hasattr(tokenizer, "batch_decode"):
        return list(tokenizer.batch_decode(sequences, **options))
    return [tokenizer.decode(sequence, **options) for sequence in sequences]
