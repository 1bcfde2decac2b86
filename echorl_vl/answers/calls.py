"""Functions, roots, sums and derivatives as they are written, with their arguments."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from fractions import Fraction

from echorl_vl.answers.literals import decimal_number
from echorl_vl.answers.reader import NotAnExpressionError
from echorl_vl.answers.symbols import SymbolReader, letter_of
from echorl_vl.answers.tokens import Token
from echorl_vl.answers.tree import (
    DEGREE,
    MINUS_ONE,
    ONE,
    Call,
    Constant,
    Expression,
    Number,
    Power,
    Product,
    Variable,
    negated,
    replace,
)
from echorl_vl.answers.words import FUNCTIONS

_INVERSE = {"sin": "asin", "cos": "acos", "tan": "atan", "cot": "acot"}
CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}


class CallReader(SymbolReader, ABC):
    """Reads functions and their arguments; the parser of expressions reads what is inside."""

    bars: int

    @abstractmethod
    def sum(self) -> Expression: ...

    @abstractmethod
    def product(self) -> Expression: ...

    @abstractmethod
    def power(self) -> Expression: ...

    @abstractmethod
    def primary(self) -> Expression: ...

    @abstractmethod
    def exponent(self) -> Expression: ...

    @abstractmethod
    def starts_factor(self) -> bool: ...

    @abstractmethod
    def is_degree(self) -> bool: ...

    def function(self) -> Expression:
        """A function with its exponent, base and argument: `\\sin^2 x`, `\\log_2 8`, `\\max(1, 2)`."""
        name = self.take().text.removeprefix("\\")
        name = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot"}.get(name, name)
        base: Expression | None = None
        exponent: Expression | None = None
        while self.peek() in ("_", "^"):
            if self.take().text == "_":
                base = self.argument() if self.kind() != "number" else decimal_number(self.take().text)
            else:
                exponent = self.exponent()
        if exponent is not None and exponent in (MINUS_ONE, negated(ONE)):
            if name not in _INVERSE:
                raise NotAnExpressionError(f"the inverse of {name}")
            name, exponent = _INVERSE[name], None
        if name in ("max", "min", "gcd", "lcm"):
            if base is not None or self.peek() != "(":
                raise NotAnExpressionError(f"{name} without arguments")
            call: Expression = Call(name, self.arguments())
        else:
            argument = self.function_argument()
            if base is not None and name != "log":
                raise NotAnExpressionError(f"{name} with an index")
            call = Call("log_base", (argument, base)) if base is not None else Call(name, (argument,))
        return call if exponent is None else Power(call, exponent)

    def function_argument(self) -> Expression:
        """A bracket with its degree sign, or the factors up to the next function, sign or bracket."""
        if self.peek() in ("(", "{"):
            argument = self.group()
            while self.peek() == r"\degree" or self.is_degree_next():
                if self.peek() == r"\degree":
                    self.take()
                argument = Product((argument, DEGREE))
            return argument
        argument = self.power()
        while (
            self.starts_factor()
            and self.peek() not in ("(", "[", "|")
            and self.peek().removeprefix("\\") not in FUNCTIONS
        ):
            argument = Product((argument, self.power()))
        return argument

    def is_degree_next(self) -> bool:
        """Take a degree sign after a bracket."""
        return self.peek() == "^" and self.is_degree()

    def arguments(self) -> tuple[Expression, ...]:
        """The arguments in brackets."""
        self.expect("(")
        found = [self.sum()]
        while self.peek() == ",":
            self.take()
            found.append(self.sum())
        self.expect(")")
        return tuple(found)

    def derivative(self) -> Expression | None:
        """`\\frac{dy}{dx}` is y', and not y/x; None if the fraction is none."""
        start = self.at
        if self.peek() == "{" and (self.peek(1) == r"\partial" or self.peek(1).startswith("d")):
            top = self.braced_text()
            bottom = self.braced_text() if self.peek() == "{" else ""
            match = re.fullmatch(r"d(?:\^\{?(\d)\}?)?(.*) d([a-z])(?:\^\{?(\d)\}?)?", f"{top} {bottom}")
            if match and match[1] == match[4]:
                return Variable(match[2] + "'" * int(match[1] or 1) + ("" if match[3] == "x" else f" d{match[3]}"))
            if re.match(r"\\partial|d[a-z]", bottom):
                return Variable(f"derivative {top}/{bottom}")
        self.at = start
        return None

    def square_root(self, sign: bool = False) -> Expression:
        """`\\sqrt{12}`, `\\sqrt[3]{8}`, sqrt(12) and, after the sign √, also the whole number that follows."""
        degree: Expression = Number(Fraction(2))
        written = self.tokens[self.at - 1].text
        if self.peek() == "[" and not sign:
            degree = self.group()
        if written == r"\sqrt" and self.kind() == "number" and len(self.peek()) > 1:
            raise NotAnExpressionError("a root without braces")  # TeX draws \sqrt12 as the root of 1, times 2
        if written != r"\sqrt" and self.kind() == "number":
            return Call("root", (decimal_number(self.take().text), degree))
        inner = self.group() if self.peek() in ("(", "{") else self.argument()
        return Call("root", (inner, degree))

    def series(self, name: str) -> Expression:
        """`\\sum_{k=1}^{n} body`; the body is a product."""
        self.expect("_")
        self.expect("{")
        index = self.primary()
        self.expect("=")
        low = self.sum()
        self.expect("}")
        self.expect("^")
        high = self.exponent()
        body = self.product()
        if index == Constant("i"):
            index = Variable("i")
            body = replace(body, lambda leaf: index if leaf == Constant("i") else leaf)
        if not isinstance(index, Variable):
            raise NotAnExpressionError("the index of a sum")
        return Call(name, (body, index, low, high))

    def argument(self) -> Expression:
        """Argument of a TeX command: a group, one digit or one symbol. `\\frac12` is 1/2; `\\frac123` is refused."""
        if self.peek() == "{":
            return self.group()
        if self.kind() == "number":
            token = self.take()
            if len(token.text) == 1:
                return decimal_number(token.text)
            if (
                len(token.text) == 2
                and token.text.isdecimal()
                and self.tokens[self.at - 2].text in (r"\frac", r"\binom")
            ):
                self.at -= 1
                self.tokens[self.at] = Token("number", token.text[1:])
                return decimal_number(token.text[0])
            raise NotAnExpressionError("an argument without braces")
        if self.kind() == "word" and len(self.peek()) > 1:
            token = self.take()
            self.at -= 1
            self.tokens[self.at] = Token("word", token.text[1:])
            return letter_of(token.text[0])
        return self.primary()

    def group(self) -> Expression:
        """What is in a pair of brackets."""
        closing = CLOSING[self.take().text]
        bars, self.bars = self.bars, 0
        result = self.sum()
        self.expect(closing)
        self.bars = bars
        return result
