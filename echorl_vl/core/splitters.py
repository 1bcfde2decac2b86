"""Splitters: where a reasoning step ends.

A splitter has one method, `boundaries(tokens, text_mask) -> (B, T) bool`: whether a step ends with each token.
`steps.step_ids` converts it to step indices. Splitters that need single tokens only (newline, window) use a gather or a
cumulative sum. The others join the text of each row once, find character positions in it, and map them back to tokens.
Tokens outside `text_mask` (visual, special, padding) are not part of the text, so an image in the middle of a response
neither ends a step nor hides a delimiter.
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
    """Base class of splitters. Built once per tokenizer, or from a `TokenTable` that several splitters share."""

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
        """(B, T) bool: the token is in `text_mask` and contains a letter or a digit, or part of one."""
        return self.table.word(tokens, text_mask)


class NewlineSplitter(Splitter):
    """A step ends with each token whose text contains a newline, including merged tokens (".\\n"). The default."""

    def boundaries(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        return self.table.newline(tokens) & text_mask


class WindowSplitter(Splitter):
    """A step is `size` text tokens."""

    def __init__(self, tokenizer: Any, size: int = 64):
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST_WINDOW:
            raise ValueError(f"the window splitter expected size >= 1 and <= {LARGEST_WINDOW:,} (tokens), got {size!r}")
        super().__init__(tokenizer)
        self.size = size

    def boundaries(self, tokens: Tensor, text_mask: Tensor) -> Tensor:
        return (text_mask.cumsum(1) % self.size == 0) & text_mask


class TextSplitter(Splitter):
    """Base class of splitters that need the text of a row. Python runs once per row, not per token."""

    def ends(self, text: str) -> Iterable[int]:
        """Return positions e such that a step ends with character e - 1."""
        return ()

    def starts(self, text: str) -> Iterable[int]:
        """Return positions s such that a step starts with character s."""
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
        """Return the indices into `ids` of the last tokens of steps."""
        pieces = self.table.pieces(ids)
        text = "".join(pieces)
        reach = list(accumulate(map(len, pieces)))  # token i contains the characters reach[i-1] .. reach[i]-1
        last = {bisect_right(reach, end - 1) for end in self.ends(text) if end > 0}
        last |= {bisect_right(reach, start) - 1 for start in self.starts(text) if start < len(text)}
        return {token for token in last if token >= 0}


class RegexSplitter(TextSplitter):
    """A step ends with each match of `pattern` (Python `re`); at an empty match it ends just before the position."""

    def __init__(self, tokenizer: Any, pattern: str):
        try:
            self.pattern = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(f"the regex splitter expected a valid pattern, got {pattern!r}: {error}") from None
        super().__init__(tokenizer)

    def ends(self, text: str) -> Iterable[int]:
        return (match.end() for match in self.pattern.finditer(text))


class BlankLineSplitter(TextSplitter):
    """A step is a paragraph: it ends with the last newline of a run of blank lines."""

    _BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")

    def ends(self, text: str) -> Iterable[int]:
        return (match.end() for match in self._BLANK_LINES.finditer(text))


class SentenceSplitter(TextSplitter):
    """A step is a sentence: it ends with . ! ? … before white space, with 。！？, or with a newline.

    Decimal points, common abbreviations ("e.g.", "Fig.") and list numbers ("1. First") do not end a sentence.
    """

    # A match can start only at the start of a run of marks, so a rollout of dots alone takes linear time too.
    _END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’)\]}*$]*(?=\s|\Z)|[。！？]+[\"'”’」』）]*|\n")
    _NO_END = re.compile(r"^\s*\d{1,3}\Z|\b(?:e\.g|i\.e|cf|vs|approx|resp|figs?|eqs?|dr|mrs?|ms)\Z", re.I | re.M)

    def ends(self, text: str) -> Iterable[int]:
        for match in self._END.finditer(text):
            start = match.start()
            if match.group() == "." and self._NO_END.search(text, max(0, start - 16), start):
                continue
            yield match.end()


class StepHeadingSplitter(TextSplitter):
    """A step starts with a heading: "Step k" at the start of a line (after Markdown marks), or "Step k:" anywhere."""

    _HEADING = re.compile(
        r"^[ \t]*(?P<line>(?:[#>*_-][#>*_\- \t]*)?step[ \t]+\d+(?=[ \t]*(?:[:.)*—–-]|$)))"
        r"|(?<!\S)(?P<inline>\*{0,2}(?-i:Step)[ \t]+\d+\*{0,2}:)",
        re.I | re.M,
    )

    def starts(self, text: str) -> Iterable[int]:
        return (match.start(match.lastgroup) for match in self._HEADING.finditer(text))


class FormulaSplitter(TextSplitter):
    r"""A step ends with a newline outside of $$...$$, \[...\] and fenced code blocks (``` or ~~~).

    One pass over the delimiters takes linear time for any text. An unclosed formula does not suppress boundaries; an
    unclosed fence suppresses all boundaries after it, as in Markdown.
    """

    _MARK = re.compile(
        r"^[ \t]*(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)$"
        r"|(?P<dollars>\$\$)|(?<!\\)\\(?P<bracket>[\[\]])|(?P<newline>\n)",
        re.M,
    )

    def ends(self, text: str) -> Iterable[int]:
        ends: list[int] = []
        inside: list[int] = []  # ends of the newlines since the opening mark
        closing = ""  # mark that closes the current formula or code block; empty outside of one
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
    """Create a splitter.

    Args:
        name: a key of `SPLITTERS`.
        tokenizer: a tokenizer, or a `TokenTable`.
        **kwargs: options of the splitter.

    Raises:
        ValueError: the name is unknown, or an option is unknown, missing or out of range.
    """
    if name not in SPLITTERS:
        raise ValueError(f"expected a splitter ({', '.join(SPLITTERS)}), got {name!r}")
    splitter = SPLITTERS[name]
    options = list(inspect.signature(splitter).parameters.values())[1:]
    unknown = sorted(set(kwargs) - {option.name for option in options})
    missing = [option.name for option in options if option.default is option.empty and option.name not in kwargs]
    if unknown or missing:
        expected = ", ".join(option.name for option in options) or "no options"
        fault = f"unknown option {unknown[0]!r}" if unknown else f"option {missing[0]!r} is missing"
        raise ValueError(f"the {name} splitter takes {expected}: {fault}")
    return splitter(tokenizer, **kwargs)
