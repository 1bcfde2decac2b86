r"""A text in LaTeX or plain notation -> tokens, with one spelling for each sign and without layout.

Nothing with a meaning is dropped: units, primes, bars, brackets and marked text (`\text{...}`) all become tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from echorl_vl.answers.spellings import CHARACTERS, COMMANDS

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_POWER = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_INDEX = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_MATH_MODE = re.compile(r"(?<!\\)\$\$?(?!\s*\d)|(?<!\\)\$(?=[^$]*\$)|\\[()]|\\\[(?!\d*pt)|(?<!\\)\\\]")
_LAYOUT = re.compile(
    r"\\(?:left|right|middle|displaystyle|textstyle|limits|nolimits|[bB]igg?[lrm]?|hfill|nobreak|hline|scriptstyle)(?![A-Za-z])"
)
_INVISIBLE_BRACKET = re.compile(r"\\(?:left|right)\s*\.")
_COLOR = re.compile(r"\\(?:textcolor|colorbox)\s*\{[^{}]*\}|\\color\s*\{[^{}]*\}")
_STYLE = re.compile(
    r"\\(?:boxed|mathbf|mathit|mathsf|mathtt|boldsymbol|bm|textbf|textit|emph|underline|mathop|ensuremath|fbox)(?=\s*\{)"
)
_OLD_STYLE = re.compile(r"\\(?:rm|bf|it|sf|tt)(?![A-Za-z])")
_SPACE = re.compile(r"(?<!\\)\\[,;:!> ]|~|\\(?:q?quad|enspace|thinspace|space)(?![A-Za-z])|\\hspace\{[^{}]*\}|\s+")
_THIN_THOUSANDS = re.compile(r"(?<=[0-9])(?:\\[,!; ]|\{,\}|,\\!|\\!,\\!) ?(?=[0-9]{3}(?![0-9]))")
_COMMA_THOUSANDS = re.compile(r"(?<![\d.,(\[])(?<!\\\{)[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
_SPACE_THOUSANDS = re.compile(r"(?<![\d.,])(?<!\d )[1-9]\d{0,2}(?: \d{3})+(?! ?\d)")
_OVER = re.compile(r"\{([^{}]*?)\\over(?![A-Za-z])([^{}]*)\}")
_CHOOSE = re.compile(r"\{([^{}]*?)\\choose(?![A-Za-z])([^{}]*)\}")
_EXPONENT = re.compile(r"(?<=\d)\s*\\(?:mathrm|text)\{e\}\s*\{?([-+]?\d+)\}?")  # 3.6\mathrm{e}-10
_PRIMES = re.compile(r"\^\s*(?:\{\s*((?:\\prime\s*|')+)\}|\\prime(?![A-Za-z]))")
_BOLD_LETTER = re.compile(r"\\(?:mathbf|boldsymbol|bm)\s*(?:\{([a-z])\}|(?<=[fhlm])\s([a-z])(?![A-Za-z]))")
_OVERSET_ARC = re.compile(r"\\overset\s*\{\s*\\frown\s*\}|\\stackrel\s*\{\s*\\frown\s*\}")
_TIMES = re.compile(r"(?<=\d)\s*x\s*(?=10\s*\^)")
_TOKEN = re.compile(
    r"(?P<number>\d+\.(?=\s*/)|\d+(?:\.\d+)?(?:[eE][-+]?\d{1,4}(?![A-Za-z0-9.]))?|\.\d+)|(?P<command>\\[A-Za-z]+|\\[%{}|$#&_\\])|(?P<word>[A-Za-z]+)"
    r"|(?P<sign>\.\.\.|//|\*\*|''|<=|>=|!=|==|\S)"
)
_TEXT = ("text", "textrm", "mathrm", "mbox", "hbox", "operatorname", "textup", "textnormal", "textsf", "texttt")


@dataclass(frozen=True, slots=True)
class Token:
    """A token.

    Attributes:
        kind: number, command, word (a run of letters) or sign.
        text: its text, in one spelling: `\\frac` for `\\dfrac`.
        spaced: whether white space precedes it.
        marked: whether it stands in `\\text{...}` or the like.
    """

    kind: str
    text: str
    spaced: bool = False
    marked: bool = False


def word_set(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


class UnbalancedError(ValueError):
    """Braces are not balanced."""


@lru_cache(maxsize=4096)
def tokenize(text: str) -> tuple[Token, ...]:
    """Tokens of a text, without its math mode, layout, thousands separators and final punctuation.

    Raises:
        UnbalancedError: its braces are not balanced.
    """
    text = text.translate(CHARACTERS)
    text = _POWER.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    text = _INDEX.sub(lambda match: f"_{{{match[0].translate(_SUBSCRIPTS)}}}", text)
    text = _PRIMES.sub(lambda match: "'" * max(1, match[0].count("prime") + match[0].count("'")), text)
    text = _BOLD_LETTER.sub(lambda match: rf"\vec{{{match[1] or match[2]}}}", text)
    text = _OVERSET_ARC.sub(r"\\overarc", text)
    text = _INVISIBLE_BRACKET.sub("", text)
    text = _THIN_THOUSANDS.sub("", text)
    text = _MATH_MODE.sub(" ", text)
    for pattern in (_LAYOUT, _COLOR, _STYLE, _OLD_STYLE, _SPACE):
        text = pattern.sub(" ", text)
    text = _COMMA_THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    text = _SPACE_THOUSANDS.sub(lambda match: match[0].replace(" ", ""), text)
    text = _EXPONENT.sub(r"e\1", text)
    text = _TIMES.sub(r" \\times ", text)
    text = _CHOOSE.sub(r"\\binom{\1}{\2}", _OVER.sub(r"\\frac{\1}{\2}", text))
    text = text.strip().removeprefix("**").removesuffix("**").strip()
    if not text.endswith("..."):
        text = text.rstrip(" .,")
    found = _tokens(text)
    depth = 0
    for token in found:
        depth += (token.text == "{") - (token.text == "}")
        if depth < 0:
            raise UnbalancedError("a } without its {")
    if depth:
        raise UnbalancedError("a { without its }")
    return tuple(found)


def _tokens(text: str, marked: bool = False) -> list[Token]:
    found: list[Token] = []
    end = at = 0
    while match := _TOKEN.search(text, at):
        spaced, kind, part = match.start() > end, match.lastgroup or "", match[0]
        at = end = match.end()
        if kind == "command" and part[1:] in _TEXT and (content := _argument(text, at)) is not None:
            inner, at = content
            end = at
            words = _tokens(inner, marked=True)
            if words:
                words[0] = Token(words[0].kind, words[0].text, True, True)
            found += words
            continue
        found.append(Token(kind, COMMANDS.get(part, part), spaced, marked))
    return found


def _argument(text: str, at: int) -> tuple[str, int] | None:
    """The content of the braces that open at or after `at`, and their end."""
    opening = re.compile(r"\s*\{").match(text, at)
    if not opening:
        return None
    depth = 1
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, opening.end()):
        depth += (match[0] == "{") - (match[0] == "}")
        if not depth:
            return text[opening.end() : match.start()], match.end()
    return None


def canonical(tokens: Sequence[Token]) -> str:
    """The tokens as one text, to compare texts exactly: equal for texts that differ in layout only."""
    parts: list[str] = []
    for index, token in enumerate(tokens):
        if token.text == "{" and _is_needless(tokens, index):
            continue
        if token.text == "}" and index >= 2 and tokens[index - 2].text == "{" and _is_needless(tokens, index - 2):
            continue
        text = token.text
        glued = not parts or not (parts[-1][-1].isalnum() and text[0].isalnum())
        parts.append(text if glued or not (token.spaced or token.kind == "word") else f" {text}")
    return "".join(parts)


def _is_needless(tokens: Sequence[Token], opening: int) -> bool:
    """Whether a brace opens around one token, as the argument of a command, an index or an exponent."""
    if opening + 2 >= len(tokens) or tokens[opening + 2].text != "}":
        return False
    if len(tokens[opening + 1].text) > 1 and tokens[opening + 1].kind != "command":  # x_12 is not x_{12}
        return False
    before = tokens[opening - 1] if opening else None
    return before is None or before.kind == "command" or before.text in ("^", "_", "}")


def split(tokens: Sequence[Token], separators: Sequence[str]) -> list[tuple[Token, ...]]:
    """Split at the separators outside all brackets; at least one part."""
    parts, depth, begin = [], 0, 0
    for index, token in enumerate(tokens):
        depth += (token.text in _OPENING) - (token.text in _CLOSING)
        if depth == 0 and token.text in separators:
            parts.append(tuple(tokens[begin:index]))
            begin = index + 1
    return [*parts, tuple(tokens[begin:])]


_OPENING = frozenset(["(", "[", "{", r"\{", r"\langle", r"\lfloor", r"\lceil", r"\begin"])
_CLOSING = frozenset([")", "]", "}", r"\}", r"\rangle", r"\rfloor", r"\rceil", r"\end"])
