"""Numbers as they are written: literals, mixed numbers, repeating decimals."""

from __future__ import annotations

import re
from fractions import Fraction

from echorl_vl.answers.evaluate import MAX_DIGITS, OutOfRangeError
from echorl_vl.answers.reader import NotAnExpressionError, TokenReader
from echorl_vl.answers.tree import Expression, Number


def decimal_number(text: str) -> Number:
    """A literal such as 12, 12.50 or 4.4e7."""
    if len(text) > MAX_DIGITS:
        raise OutOfRangeError("more than 4,000 digits")
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    if not exponent:
        return Number(Fraction(text), decimals if "." in text else None)
    return Number(Fraction(mantissa) * Fraction(10) ** int(exponent), decimals - int(exponent))


def _repeating(fixed: str, block: str) -> Number:
    """The number whose digits begin with `fixed` (with its point) and go on with `block` for ever."""
    tail = Fraction(int(block), 10 ** len(fixed.partition(".")[2]) * (10 ** len(block) - 1))
    return Number(Fraction(fixed.removesuffix(".") or "0") + tail, repeating=True)


# Digits that end with one digit three times, or with a block twice: what three dots after them go on with.
_REPEATED = re.compile(r"(\d*\.\d*?)(?:(\d)\2\2+|(\d{2,6})\3+)")


class LiteralReader(TokenReader):
    """Reads numbers."""

    def number(self) -> Expression:
        """A literal, a mixed number (`2\\frac{1}{3}`, `2 1/3`) or a repeating decimal (`0.1\\overline{6}`)."""
        token = self.take()
        if repeating := self.repeating(token.text):
            return repeating
        whole = decimal_number(token.text)
        shape = [self.peek(ahead) for ahead in range(7)]
        parts, length = ("", ""), 0
        if shape[0] == r"\frac" and (shape[1], shape[3], shape[4], shape[6]) == ("{", "}", "{", "}"):
            parts, length = (shape[2], shape[5]), 7
        elif shape[0] == r"\frac" and len(shape[1]) == 2:
            parts, length = (shape[1][0], shape[1][1]), 2
        elif shape[1] == "/" and self.kind() == "number":
            parts, length = (shape[0], shape[2]), 3
        digits = all(part.isdecimal() and len(part) < 9 for part in parts)
        if token.text.isdecimal() and length and digits and 0 < int(parts[0]) < int(parts[1]):
            self.at += length
            return Number(whole.value + Fraction(int(parts[0]), int(parts[1])))
        return whole

    def repeating(self, text: str) -> Number | None:
        """`0.\\overline{3}`, `0.\\dot{1}4\\dot{2}`, `0.333...`: the token after the point is a sign."""
        if "." in text and self.peek() == "..." and (match := _REPEATED.fullmatch(text)):
            self.take()
            return _repeating(match[1], match[2] or match[3])
        if "." in text and self.peek() == "(" and self.peek(1).isdecimal() and self.peek(2) == ")":
            self.at += 3
            return _repeating(text, self.tokens[self.at - 2].text)  # 0.1(6)
        if text.isdecimal() and self.peek() == "." and self.peek(1) in (r"\overline", r"\dot", "("):
            self.take()
            return self.repeating(f"{text}.")
        if "." not in text or self.peek() not in (r"\overline", r"\dot"):
            return None
        block = self.marked_digits()
        if self.kind() == "number" or self.peek() == r"\dot":  # from one dot to the other
            if self.kind() == "number":
                block += self.take().text
            block += self.marked_digits() if self.peek() == r"\dot" else "x"
        if not block.isdecimal():
            raise NotAnExpressionError("a repeating decimal")
        return _repeating(text, block)

    def marked_digits(self) -> str:
        """The digits under the sign of a repeating decimal."""
        self.take()
        if self.peek() == "{":
            digits = [self.take().text for _ in range(3)]
            return digits[1] if digits[2] == "}" else ""
        return self.take().text
