"""Where a reasoning step ends: seven splitters behind one interface.

A splitter answers one question, `boundaries(tokens, text_mask) -> (B, T) bool`: does a step end with this token?
`steps.step_ids` turns the answer into step indices. Splitters that look at single tokens (newline, window) are a
gather or a cumulative sum. The others need the text around a token: they join each row's text once, find character
positions in it, and map them back to the tokens that hold those characters. Tokens outside `text_mask` (visual,
special, padding) are left out of the text, so an image in the middle of a response neither ends a step nor hides a
delimiter.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from .vocabulary import TokenTable

LARGEST_WINDOW = 2**20


class Splitter(ABC):
    """The interface. Built once per tokenizer (or from a `TokenTable`, to share one among splitters)."""

    def __init__(self, tokenizer: Any):
        self.table = TokenTable.from_tokenizer(tokenizer)

    @abstractmethod
    def boundaries(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        """(B, T) bool: a step ends with this token. Only positions inside `text_mask` count.

        Args:
            tokens: (B, T) int64 ids.
            text_mask: (B, T) bool.
        """

    def word(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        """(B, T) bool: the token is in `text_mask` and holds a letter or a digit, or a part of one."""
        return self.table.word(tokens, text_mask)


class NewlineSplitter(Splitter):
    """The default: a step ends with every token whose text contains a newline, merged ones (".\\n") included."""

    def boundaries(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        return self.table.newline(tokens) & text_mask


class WindowSplitter(Splitter):
    """A step is `size` text tokens."""

    def __init__(self, tokenizer: Any, size: int = 64):
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST_WINDOW:
            raise ValueError(f"the window splitter needs size >= 1 and <= {LARGEST_WINDOW:,} (tokens), got {size!r}")
        super().__init__(tokenizer)
        self.size = size

    def boundaries(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        return (text_mask.cumsum(1) % self.size == 0) & text_mask


class TextSplitter(Splitter):
    """Base of the splitters that need a row's text. One Python call per row, none per token."""

    def ends(self, text: str) -> Iterable[int]:
        """Positions e such that a step ends with character e - 1."""
        return ()

    def starts(self, text: str) -> Iterable[int]:
        """Positions s such that a step begins with character s."""
        return ()

    def boundaries(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        rows, columns = [], []
        for row, (ids, mask) in enumerate(zip(tokens.cpu(), text_mask.cpu(), strict=True)):
            places = mask.nonzero().squeeze(1)
            last = sorted(self._last_tokens(ids[places].tolist()))
            columns.append(places[torch.tensor(last, dtype=torch.int64)])
            rows.append(torch.full((len(last),), row))
        out = torch.zeros(text_mask.shape, dtype=torch.bool)
        if rows:
            out[torch.cat(rows), torch.cat(columns)] = True
        return out.to(tokens.device)

    def _last_tokens(self, ids: list[int]) -> set[int]:
        """Indices into `ids` of the tokens that a step ends with."""
        pieces = self.table.pieces(ids)
        text = "".join(pieces)
        reach = list(accumulate(map(len, pieces)))  # token i holds the characters reach[i-1] .. reach[i]-1
        last = {bisect_right(reach, end - 1) for end in self.ends(text) if end > 0}
        last |= {bisect_right(reach, start) - 1 for start in self.starts(text) if start < len(text)}
        return {token for token in last if token >= 0}


class RegexSplitter(TextSplitter):
    """A step ends with every match of `pattern` (Python's `re`); an empty match ends one just before itself."""

    def __init__(self, tokenizer: Any, pattern: str):
        try:
            self.pattern = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(f"the regex splitter needs a valid pattern, got {pattern!r}: {error}") from None
        super().__init__(tokenizer)

    def ends(self, text: str) -> Iterable[int]:
        return (match.end() for match in self.pattern.finditer(text))


class BlankLineSplitter(TextSplitter):
    """A step is a paragraph: it ends with the last newline of one or more blank lines."""

    _BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")

    def ends(self, text: str) -> Iterable[int]:
        return (match.end() for match in self._BLANK_LINES.finditer(text))


class SentenceSplitter(TextSplitter):
    """A step is a sentence: it ends with . ! ? … before white space, with 。！？, or with a newline.

    Decimal points, common abbreviations ("e.g.", "Fig.") and the number of a list item ("1. First") end none.
    """

    # A match may begin only where a run of marks begins: linear time even on a rollout of nothing but dots.
    _END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’)\]}*$]*(?=\s|\Z)|[。！？]+[\"'”’」』）]*|\n")
    _NO_END = re.compile(r"^\s*\d{1,3}\Z|\b(?:e\.g|i\.e|cf|vs|approx|resp|figs?|eqs?|dr|mrs?|ms)\Z", re.I | re.M)

    def ends(self, text: str) -> Iterable[int]:
        for match in self._END.finditer(text):
            start = match.start()
            if match.group() == "." and self._NO_END.search(text, max(0, start - 16), start):
                continue
            yield match.end()


class StepHeadingSplitter(TextSplitter):
    """A step begins with a heading: "Step k" at the start of a line, Markdown marks aside, or "Step k:" within it."""

    _HEADING = re.compile(
        r"^[ \t]*(?P<line>(?:[#>*_-][#>*_\- \t]*)?step[ \t]+\d+(?=[ \t]*(?:[:.)*—–-]|$)))"
        r"|(?<!\S)(?P<inline>\*{0,2}(?-i:Step)[ \t]+\d+\*{0,2}:)",
        re.I | re.M,
    )

    def starts(self, text: str) -> Iterable[int]:
        return (match.start(match.lastgroup) for match in self._HEADING.finditer(text))


class FormulaSplitter(TextSplitter):
    r"""A step ends with a newline, but not inside $$...$$, \[...\] or a fenced code block (``` or ~~~).

    One pass over the delimiters, so the time is linear whatever a policy writes. A formula that is never closed
    protects nothing; an open fence protects the rest of the text, as in Markdown.
    """

    _MARK = re.compile(
        r"^[ \t]*(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)$"
        r"|(?P<dollars>\$\$)|(?<!\\)\\(?P<bracket>[\[\]])|(?P<newline>\n)",
        re.M,
    )

    def ends(self, text: str) -> Iterable[int]:
        ends: list[int] = []
        inside: list[int] = []  # newlines since the opening mark
        closing = ""  # what ends the protected span; empty outside of one
        for mark in self._MARK.finditer(text):
            kind = mark.lastgroup
            if kind == "newline":
                (inside if closing else ends).append(mark.end())
            elif not closing:
                closing, inside = _closing_of(mark), []
            elif _closes(mark, closing):
                closing = ""
        return ends + inside if closing in ("$$", "]") else ends


def _closing_of(mark: re.Match[str]) -> str:
    if mark["bracket"]:
        return "]" if mark["bracket"] == "[" else ""
    return mark["fence"] or mark["dollars"]


def _closes(mark: re.Match[str], closing: str) -> bool:
    if mark["fence"]:
        return mark["fence"].startswith(closing) and not mark["info"].strip()
    return (mark["dollars"] or mark["bracket"]) == closing


SPLITTERS: dict[str, type[Splitter]] = {
    "newline": NewlineSplitter,
    "blank_line": BlankLineSplitter,
    "sentence": SentenceSplitter,
    "regex": RegexSplitter,
    "step_heading": StepHeadingSplitter,
    "formula": FormulaSplitter,
    "window": WindowSplitter,
}


def make_splitter(name: str, tokenizer: Any, **kwargs: Any) -> Splitter:
    """The splitter called `name` in `SPLITTERS`, for a tokenizer or a `TokenTable`.

    Raises:
        ValueError: unknown name, unknown or missing option, or an option out of range.
    """
    if name not in SPLITTERS:
        raise ValueError(f"no splitter is called {name!r}; there are {', '.join(SPLITTERS)}")
    splitter = SPLITTERS[name]
    options = list(inspect.signature(splitter).parameters.values())[1:]
    unknown = sorted(set(kwargs) - {option.name for option in options})
    missing = [option.name for option in options if option.default is option.empty and option.name not in kwargs]
    if unknown or missing:
        wanted = ", ".join(option.name for option in options) or "no options"
        found = f"unknown option {unknown[0]!r}" if unknown else f"option {missing[0]!r} is missing"
        raise ValueError(f"the {name} splitter takes {wanted}: {found}")
    return splitter(tokenizer, **kwargs)
