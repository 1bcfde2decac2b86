"""Parse a number in LaTeX or plain text, such as `3\\sqrt{3}`, `\\frac{13}{\\tan{(\\frac{19\\pi}{90})}}` or `2pi/3`.

A small recursive-descent parser replaces sympy here: it imports nothing, takes linear time, and no input makes it hang
or use much memory. Rational arithmetic is exact (`Fraction`); roots, pi and trigonometry give a float. A text that is
not certainly a number raises `UnreadableNumberError`, since an incorrect value would give an incorrect reward.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

Value = Fraction | float

MAX_BITS = 4096
MAX_DEPTH = 40
MAX_DIGITS = 4000  # of one literal; Python itself reads integers of at most 4,300 digits

_TOKEN = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)|(?P<command>\\[A-Za-z]+)|(?P<word>[A-Za-z]+)|(?P<char>[-+*/^(){}\[\]°])"
)
_SPACE = re.compile(r"\s+")
_DEGREE = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degree(?![A-Za-z])")


class UnreadableNumberError(ValueError):
    """The text is not a number that this parser reads."""


class NumberTooLargeError(UnreadableNumberError):
    """The number is out of range: it overflows, is not finite, or has over 4,096 bits or 4,000 digits."""


def _reciprocal(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: 1.0 / function(x)


_FORWARD: dict[str, Callable[[float], float]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "sec": _reciprocal(math.cos),
    "csc": _reciprocal(math.sin),
    "cot": _reciprocal(math.tan),
}
_INVERSE: dict[str, Callable[[float], float]] = {"sin": math.asin, "cos": math.acos, "tan": math.atan}
_FUNCTIONS = {
    **_FORWARD,
    **{prefix + name: function for name, function in _INVERSE.items() for prefix in ("a", "arc")},
    "ln": math.log,
}
_FRACTIONS = {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"}
_TIMES = {"*", "\\cdot", "\\times"}
_OVER = {"/", "\\div"}


def value(text: str) -> Value:
    """Value of `text`.

    Raises:
        UnreadableNumberError: the text is not a number; NumberTooLargeError if it is one that is out of range.
    """
    return _Parser(text).read()


def _bounded(number: Value) -> Value:
    if isinstance(number, Fraction):
        if max(number.numerator.bit_length(), number.denominator.bit_length()) > MAX_BITS:
            raise NumberTooLargeError("more than 4,096 bits")
    elif not math.isfinite(number):
        raise NumberTooLargeError("not finite")
    return number


def _arithmetic(operation: Callable[[Value, Value], Value], left: Value, right: Value) -> Value:
    try:
        return _bounded(operation(left, right))
    except OverflowError as error:
        raise NumberTooLargeError("overflow") from error
    except ZeroDivisionError as error:
        raise UnreadableNumberError("division by zero") from error


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * bits > 2 * MAX_BITS and abs(base) != 1:
            raise NumberTooLargeError("power")  # checked before the power is computed
        if base == 0 and exponent < 0:
            raise UnreadableNumberError("division by zero")
        parity = exponent.numerator % 2
        return base ** (parity if abs(base) == 1 else exponent.numerator)
    if isinstance(base, Fraction) and exponent == Fraction(1, 2):
        return _root(base, 2)
    return _to_float(math.pow, base, exponent)


def _root(number: Value, degree: int) -> Value:
    """Real root of `number`, exact if it is the square of a fraction."""
    if number < 0:
        raise UnreadableNumberError("root of a negative number")
    if degree == 2 and isinstance(number, Fraction):
        root = Fraction(math.isqrt(number.numerator), math.isqrt(number.denominator))
        if root * root == number:
            return root
    return _to_float(math.pow, number, 1.0 / degree) if degree != 2 else _to_float(math.sqrt, number)


def _to_float(function: Callable[..., float], *arguments: Value) -> float:
    try:
        result = function(*(float(argument) for argument in arguments))
    except OverflowError as error:
        raise NumberTooLargeError("overflow") from error
    except (ValueError, ZeroDivisionError) as error:
        raise UnreadableNumberError(str(error)) from error
    _bounded(result)
    return result


class _Parser:
    """Parses sums of products of powers. No sign is needed before a factor, unless it is a number."""

    def __init__(self, text: str) -> None:
        text = _DEGREE.sub("°", text).replace("**", "^")
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            space = _SPACE.match(text, at)
            if space:
                at = space.end()
                continue
            token = _TOKEN.match(text, at)
            if token is None:
                raise UnreadableNumberError(f"{text[at]!r}")
            if token.lastgroup == "number" and len(token[0]) > MAX_DIGITS:
                raise NumberTooLargeError("more than 4,000 digits")
            self.tokens.append((token.lastgroup or "", token[0]))
            at = token.end()
        self.at = 0
        self.depth = 0
        self.in_trigonometry = 0

    def read(self) -> Value:
        result = self.sum()
        if self.at != len(self.tokens):
            raise UnreadableNumberError(self.peek())
        return result

    # tokens
    def peek(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return self.tokens[index][1] if index < len(self.tokens) else ""

    def kind(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return self.tokens[index][0] if index < len(self.tokens) else ""

    def take(self) -> str:
        if self.at >= len(self.tokens):
            raise UnreadableNumberError("unexpected end")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise UnreadableNumberError(f"expected {token}")

    # grammar
    def sum(self) -> Value:
        total = self.signed_product()
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.product()
            total = _arithmetic(lambda a, b: a + b, total, term if sign == "+" else -term)
        return total

    def signed_product(self) -> Value:
        if self.peek() in ("+", "-"):
            return self.product() if self.take() == "+" else -self.product()
        return self.product()

    def product(self) -> Value:
        total = self.power()
        while True:
            token = self.peek()
            if token in _TIMES or token in _OVER:
                self.take()
                sign = -1 if self.peek() == "-" else 1
                if sign < 0:
                    self.take()
                factor = self.power() * sign
                if token in _TIMES:
                    total = _arithmetic(lambda a, b: a * b, total, factor)
                else:
                    total = _arithmetic(lambda a, b: a / b, total, factor)
            elif self.starts_factor():
                total = _arithmetic(lambda a, b: a * b, total, self.power())
            else:
                return total

    def starts_factor(self) -> bool:
        """Whether a factor without a multiplication sign starts here. A number does not: `3 4` is not 12."""
        return self.kind() in ("command", "word") or self.peek() == "("

    def power(self) -> Value:
        """An operand with its exponents. Every recursion goes through this method, which bounds the depth."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableNumberError("nested too deep")
        result = self.with_exponents(self.primary())
        self.depth -= 1
        return result

    def with_exponents(self, base: Value) -> Value:
        while True:
            if self.peek() == "^":
                self.take()
                base = _power(base, self.exponent())
                if self.peek() == "^":
                    raise UnreadableNumberError("a power of a power without braces")
            elif self.peek() == "°":
                self.take()
                if self.in_trigonometry:
                    base = _arithmetic(lambda a, b: a * b, base, math.pi / 180)
            else:
                return base

    def exponent(self) -> Value:
        if self.peek() == "{":
            return self.group("{", "}")
        if self.peek() == "(":
            return self.group("(", ")")
        if self.peek() == "-":
            self.take()
            return -Fraction(self.number_token())
        return Fraction(self.number_token())

    def number_token(self) -> str:
        if self.kind() != "number":
            raise UnreadableNumberError("expected a number")
        return self.take()

    def group(self, opening: str, closing: str) -> Value:
        self.expect(opening)
        result = self.sum()
        self.expect(closing)
        return result

    def primary(self) -> Value:
        kind, token = self.kind(), self.peek()
        if kind == "number":
            return self.number()
        if token == "(":
            return self.group("(", ")")
        if token == "{":
            return self.group("{", "}")
        if kind not in ("command", "word"):
            raise UnreadableNumberError(token or "unexpected end")
        self.take()
        name = token.removeprefix("\\")
        if token in _FRACTIONS:
            numerator, denominator = self.argument(), self.argument()
            return _arithmetic(lambda a, b: a / b, numerator, denominator)
        if name == "sqrt":
            return self.root()
        if name == "pi":
            return math.pi
        if token == "\\operatorname":
            self.expect("{")
            name = self.take()
            self.expect("}")
        if name in _FUNCTIONS:
            return self.function(name)
        raise UnreadableNumberError(token)

    def number(self) -> Value:
        """A literal or a mixed number: `2\\frac{1}{3}` and `2 1/3` are a whole number and a proper fraction."""
        token = self.take()
        whole = Fraction(token)
        if "." in token:
            return whole
        tail = ("", "")
        shape = [self.peek(ahead) for ahead in range(7)]
        length = 0
        if shape[0] in _FRACTIONS and (shape[1], *shape[3:5], shape[6]) == ("{", "}", "{", "}"):
            tail, length = (shape[2], shape[5]), 7
        elif shape[0] in _FRACTIONS and len(shape[1]) == 2:
            tail, length = (shape[1][0], shape[1][1]), 2
        elif shape[1] == "/":
            tail, length = (shape[0], shape[2]), 3
        if length and tail[0].isdecimal() and tail[1].isdecimal() and 0 < int(tail[0]) < int(tail[1]):
            self.at += length
            return whole + Fraction(int(tail[0]), int(tail[1]))
        return whole

    def argument(self) -> Value:
        """Argument of a TeX command: a group, one digit or one symbol. `\\frac12` is 1/2, `\\sqrt12` is sqrt(1) 2."""
        if self.peek() == "{":
            return self.group("{", "}")
        if self.peek() == "\\pi":
            self.take()
            return math.pi
        token = self.number_token()
        if not token[0].isdecimal():
            raise UnreadableNumberError(token)
        if len(token) > 1:
            if not token[1:].isdecimal():
                raise UnreadableNumberError(token)
            self.at -= 1
            self.tokens[self.at] = ("number", token[1:])
        return Fraction(token[0])

    def root(self) -> Value:
        degree = 2
        if self.tokens[self.at - 1][1] == "sqrt":  # plain text: sqrt(12), sqrt 12
            closing = {"(": ")", "{": "}"}.get(self.peek())
            return _root(self.group(self.peek(), closing) if closing else Fraction(self.number_token()), 2)
        if self.peek() == "[":
            self.take()
            index = self.number_token()
            self.expect("]")
            if not index.isdecimal() or not 2 <= int(index) <= 64:
                raise UnreadableNumberError("root index")
            degree = int(index)
        return _root(self.group("(", ")") if self.peek() == "(" else self.argument(), degree)

    def function(self, name: str) -> Value:
        exponent: Value = Fraction(1)
        if self.peek() == "^":
            self.take()
            exponent = self.exponent()
            if exponent == -1:
                if name not in _INVERSE:
                    raise UnreadableNumberError(name)
                name, exponent = "a" + name, Fraction(1)
        trigonometric = name in _FORWARD
        self.in_trigonometry += trigonometric
        if self.peek() in ("(", "{"):
            argument = self.power_without_exponent()
        else:
            argument = self.power()
            while self.starts_factor() and self.peek().removeprefix("\\") not in (*_FUNCTIONS, "operatorname"):
                argument = _arithmetic(lambda a, b: a * b, argument, self.power())
        self.in_trigonometry -= trigonometric
        return _power(_to_float(_FUNCTIONS[name], argument), exponent)

    def power_without_exponent(self) -> Value:
        """A bracketed argument with its degree sign. The exponent of `\\sin(x)^2` belongs to the sine."""
        argument = self.primary()
        if self.peek() == "°":
            self.take()
            if self.in_trigonometry:
                argument = _arithmetic(lambda a, b: a * b, argument, math.pi / 180)
        return argument
