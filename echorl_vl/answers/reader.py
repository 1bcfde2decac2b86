"""A cursor over tokens, for the parsers of expressions and names."""

from __future__ import annotations

from collections.abc import Sequence

from echorl_vl.answers.tokens import Token

DEGREE_SIGNS = (
    (r"\degree",),
    ("^", r"\circ"),
    ("^", "{", r"\circ", "}"),
    ("^", "o"),
    ("^", "{", "o", "}"),
    ("^", "{", r"\degree", "}"),
)
"""Tokens of a degree sign."""


class NotAnExpressionError(ValueError):
    """The tokens are no expression that this parser knows."""


class TokenReader:
    """Reads tokens from front to back."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = list(tokens)
        self.at = 0

    def token(self, ahead: int = 0) -> Token | None:
        """The token ahead, None after the last."""
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else None

    def peek(self, ahead: int = 0) -> str:
        """Its text, "" after the last."""
        token = self.token(ahead)
        return token.text if token else ""

    def kind(self, ahead: int = 0) -> str:
        """Its kind, "" after the last."""
        token = self.token(ahead)
        return token.kind if token else ""

    def take(self) -> Token:
        """Read one token."""
        if self.at >= len(self.tokens):
            raise NotAnExpressionError("it ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, text: str) -> None:
        """Read one token, which has to be `text`."""
        if self.take().text != text:
            raise NotAnExpressionError(f"expected {text}")

    def braced_text(self) -> str:
        """The text of a group in braces, or of one token."""
        if self.peek() != "{":
            return self.take().text
        parts, depth = [], 0
        while True:
            token = self.take()
            depth += (token.text == "{") - (token.text == "}")
            parts.append(token.text)
            if not depth:
                return "".join(parts[1:-1])
