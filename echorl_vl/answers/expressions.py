r"""Tokens -> an expression tree. A strict parser: what it does not know raises `NotAnExpressionError`.

LaTeX parsers that guess (latex2sympy, the lenient modes of math-verify and mathruler) drop what they don't know: units,
primes, indices, the second of two numbers. A dropped sign is an incorrect reward, so nothing is dropped here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from echorl_vl.answers.calls import CallReader
from echorl_vl.answers.evaluate import OutOfRangeError
from echorl_vl.answers.literals import decimal_number
from echorl_vl.answers.names import POLYGON_COMMANDS, Name
from echorl_vl.answers.reader import DEGREE_SIGNS, NotAnExpressionError
from echorl_vl.answers.symbols import ACCENTS, GREEK, is_vector, letter_of, vector_points
from echorl_vl.answers.tokens import Token
from echorl_vl.answers.tree import (
    DEGREE,
    MINUS_ONE,
    PERCENT,
    PLUS_MINUS,
    Call,
    Constant,
    Expression,
    Power,
    Product,
    Quotient,
    Sum,
    Variable,
    negated,
)
from echorl_vl.answers.units import UNITS
from echorl_vl.answers.words import FUNCTION_OF, FUNCTIONS, is_prose

MAX_DEPTH = 40

_TIMES, _OVER = frozenset(["*", r"\cdot", r"\times", r"\bullet"]), frozenset(["/", r"\div"])
_CONSTANTS = {"pi": "pi", "inf": "inf", "infty": "inf", "infinity": "inf"}
_FUNCTION_NAMES = frozenset("fghFGHP")


def parse_expression(tokens: Sequence[Token]) -> Expression:
    """The expression that all the tokens form.

    Raises:
        NotAnExpressionError: they form none. OutOfRangeError: a literal has over 4,000 digits.
    """
    return _Parser(tokens).whole()


def try_expression(tokens: Sequence[Token]) -> Expression | None:
    """`parse_expression`; None if the tokens form none."""
    try:
        return parse_expression(tokens)
    except (NotAnExpressionError, OutOfRangeError):
        return None


class _Parser(CallReader):
    """Recursive descent: sums of products of powers. A factor that is no number needs no multiplication sign."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.depth = 0
        self.bars = 0

    def whole(self) -> Expression:
        """The expression of all tokens."""
        result = self.sum()
        if self.at != len(self.tokens):
            raise NotAnExpressionError(f"{self.peek()!r}")
        return result

    # Sums, products, powers

    def sum(self) -> Expression:
        """Terms with their signs."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotAnExpressionError("nested too deep")
        terms = [self.term(first=True)]
        while self.peek() in ("+", "-", r"\pm", r"\mp"):
            terms.append(self.term())
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def term(self, first: bool = False) -> Expression:
        """A product with its signs: -x, +-x, \\pm x."""
        signs: list[Expression] = []
        while self.peek() in ("+", "-", r"\pm", r"\mp") and len(signs) < 2 + (not first):
            sign = self.take().text
            if sign in (r"\pm", r"\mp"):
                signs.append(PLUS_MINUS)
            if sign in ("-", r"\mp"):
                signs.append(MINUS_ONE)
        product = self.product()
        for sign in signs:
            product = negated(product) if sign == MINUS_ONE else Product((sign, product))
        return product

    def product(self) -> Expression:
        """Factors, with or without signs between them."""
        factors = [self.power()]
        divisions = 0
        while True:
            text = self.peek()
            if text in _TIMES or text in _OVER:
                self.take()
                negative = self.peek() == "-" and bool(self.take())
                factor = self.power()
                factor = negated(factor) if negative else factor
                if text == r"\times" and is_vector(factors[-1]) and is_vector(factor):  # does not commute
                    factors[-1] = Call("cross", (factors[-1], factor), known=False)
                elif text in _TIMES:
                    factors.append(factor)
                else:
                    factors = [Quotient(_product(factors), factor)]
                    divisions += 1
            elif self.starts_factor():
                if divisions and not self.is_fraction_before():
                    raise NotAnExpressionError("1/2x may be 1/(2x)")
                factors.append(self.power())
            else:
                return _product(factors)
            if divisions > MAX_DEPTH:
                raise NotAnExpressionError("nested too deep")

    def is_fraction_before(self) -> bool:
        """Whether what follows a quotient is set apart from it: 1/2 x, 2/3\\pi, (1/2)x."""
        token = self.token()
        assert token is not None
        return token.spaced or token.kind == "command" or token.text in ("pi", "sqrt")

    def starts_factor(self) -> bool:
        """Whether a factor without a multiplication sign starts here. A number does not: `3 4` is not 12."""
        if self.kind() == "word":
            return not self.is_text()
        if self.peek() == "{":
            return self.kind(1) != "number"
        if self.kind() == "number":  # 3!4! and (n-2) 2^n, but (1) 5 is a label
            before = self.tokens[self.at - 1].text
            return before == "!" or (before == ")" and self.peek(1) == "^")
        return self.peek() in ("(", "[") or (self.peek() == "|" and not self.bars) or self.is_operand()

    def is_operand(self) -> bool:
        """Whether a command begins an operand."""
        name = self.peek()[1:]
        return self.kind() == "command" and (
            name in GREEK | FUNCTIONS | ACCENTS
            or name
            in ("frac", "sqrt", "surd", "binom", "pi", "sum", "prod", "angle", "triangle", "lfloor", "lceil", "infty")
        )

    def is_text(self) -> bool:
        """Whether the word here is text or a unit, and no product of variables."""
        token = self.token()
        assert token is not None
        return is_prose(token) or (len(token.text) > 1 and token.text in UNITS and token.text not in FUNCTIONS)

    def power(self) -> Expression:
        """An operand with what follows it. Bounds the depth."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotAnExpressionError("nested too deep")
        result = self.postfix(self.primary())
        self.depth -= 1
        return result

    def postfix(self, base: Expression) -> Expression:
        """Exponents, degree and percent signs, factorials after an operand."""
        raised = False
        while True:
            text = self.peek()
            if text in ("^", "**"):
                if self.is_degree():
                    base = Product((base, DEGREE))
                    continue
                if raised:
                    raise NotAnExpressionError("a power of a power without braces")
                self.take()
                base, raised = Power(base, self.exponent()), True
            elif text == r"\degree":
                self.take()
                base = Product((base, DEGREE))
            elif text == "%":
                self.take()
                base = Product((base, PERCENT))
            elif text == "!":
                self.take()
                double = self.peek() == "!" and bool(self.take())
                base = Call("factorial2" if double else "factorial", (base,))
            else:
                return base

    def is_degree(self) -> bool:
        """Take a degree sign, such as `^\\circ`."""
        for shape in DEGREE_SIGNS:
            if all(self.peek(ahead) == text for ahead, text in enumerate(shape)):
                self.at += len(shape)
                return True
        return False

    def exponent(self) -> Expression:
        """An exponent: a group, a number, or one symbol."""
        if self.peek() == "-":
            self.take()
            return negated(self.exponent())
        if self.peek() in ("{", "("):
            return self.group()
        if self.kind() == "number":
            return decimal_number(self.take().text)
        if self.kind() == "word" and len(self.peek()) > 1:  # x^ab is x^a b, and what is meant is not certain
            raise NotAnExpressionError("an exponent without braces")
        return self.primary()

    # Operands

    def primary(self) -> Expression:
        """A number, a group, an absolute value, a word or a command."""
        kind, text = self.kind(), self.peek()
        if kind == "number":
            return self.number()
        if text in ("(", "{", "["):
            return self.group()
        if text in ("|", r"\|"):
            self.take()
            bars, self.bars = self.bars, 1
            inner = self.sum()
            self.bars = bars
            self.expect(text)
            return Call("abs", (_length(inner),))
        if kind == "word":
            return self.word()
        if kind == "command":
            return self.command()
        raise NotAnExpressionError(f"{text!r}" if text else "it ends too early")

    def word(self) -> Expression:
        """A function, a name of capitals (AB), or a product of variables (xy)."""
        token = self.token()
        assert token is not None
        word = token.text
        if word in _CONSTANTS:
            self.take()
            return Constant(_CONSTANTS[word])
        if word == "sqrt":
            self.take()
            return self.square_root()
        if match := FUNCTION_OF.fullmatch(word):
            parts = [Token("word", part, False, token.marked) for part in match.groups()]
            self.tokens[self.at : self.at + 1] = parts
            return self.function()
        if word in FUNCTIONS:
            return self.function()
        if self.is_text():
            raise NotAnExpressionError(f"the word {word!r}")
        first, *others = re.findall("[A-Z]{2,}|.", word)  # each letter is a factor, each run of capitals a name
        self.tokens[self.at : self.at + 1] = [
            Token("word", first, token.spaced, token.marked),
            *(Token("word", part, False, token.marked) for part in others),
        ]
        return self.capitals() if len(first) > 1 else self.letter(self.take().text)

    def letter(self, letter: str) -> Expression:
        """A variable with its index and primes, or a function of the text, such as `f(x)`."""
        name = self.decorated(letter)
        if self.peek() == "(" and (letter in _FUNCTION_NAMES or self.is_list() or self.is_argument()):
            return Call(name, self.arguments(), known=False)
        return letter_of(name)

    def is_argument(self) -> bool:
        """Whether one letter or number stands in the bracket: x(t), I(0). A product would need no bracket."""
        return self.kind(1) in ("word", "number") and len(self.peek(1)) == 1 and self.peek(2) == ")"

    def is_list(self) -> bool:
        """Whether the bracket here has a comma."""
        depth = 0
        for token in self.tokens[self.at :]:
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            if depth == 1 and token.text == ",":
                return True
            if not depth:
                break
        return False

    def command(self) -> Expression:
        """A TeX command with its arguments."""
        text = self.peek()
        name = text[1:]
        if name in FUNCTIONS:
            return self.function()
        self.take()
        if name in GREEK:
            return self.letter(name)
        if name == "pi":
            return Constant("pi")
        if name == "infty":
            return Constant("inf")
        if name == "frac":
            return self.derivative() or Quotient(self.argument(), self.argument())
        if name == "binom":
            return Call("binom", (self.argument(), self.argument()))
        if name in ("sqrt", "surd"):
            return self.square_root(sign=name == "surd")
        if name in ("lfloor", "lceil"):
            inner = self.sum()
            self.expect(rf"\r{name[1:]}")
            return Call(name[1:], (inner,))
        if name in ("sum", "prod"):
            return self.series(name)
        if name == "angle":
            return self.name("angle")
        if text in POLYGON_COMMANDS:
            return self.name(POLYGON_COMMANDS[text])
        if name == "odot":
            return self.name("circle")
        if name in ACCENTS:
            return self.accent(name)
        raise NotAnExpressionError(text)


def _product(factors: list[Expression]) -> Expression:
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def _length(inner: Expression) -> Expression:
    """The inside of bars: the length of a vector from A to B is that of the segment AB."""
    points = vector_points(inner)
    return Variable(Name("", points).symbol) if points else inner
