"""Values of expressions: exact where they are rational, otherwise to as many digits as asked.

Every result is bounded, so no expression takes long: `9^{9^{9}}` raises `OutOfRangeError` before it is computed.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce
from types import MappingProxyType
from typing import Any

from echorl_vl.answers.tree import (
    Call,
    Constant,
    Expression,
    Number,
    Power,
    Product,
    Quotient,
    Sum,
    Variable,
)

MAX_BITS = 100_000  # of a numerator or denominator; of the exponent of a real number 2^x
MAX_ROOT_BITS = 20_000
MAX_FACTORIAL = 5000
MAX_TERMS = 1000  # of a sum
MAX_STEPS = 10_000  # of one value: operations on numbers of 50 digits
MAX_DIGITS = 4000  # of one literal; Python itself reads integers of at most 4,300 digits

Values = Mapping[str, Any]  # variable or constant ("deg", "%") -> value
NO_VALUES: Values = MappingProxyType({})


class Budget:
    """Counts the operations for one value, weighted by the size of their numbers."""

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Raises OutOfRangeError when nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise OutOfRangeError("too many operations")


class NoValueError(ValueError):
    """The expression has no value: division by zero, a logarithm of 0, an unknown variable."""


class OutOfRangeError(NoValueError):
    """The value is too large, or has too many digits."""


# Exact values


def exact(node: Expression, values: Values = NO_VALUES) -> Fraction | None:
    """The value as a fraction; None if it is, or may be, irrational.

    Args:
        node: an expression.
        values: values of variables, and of "deg" and "%" (1 by default).

    Raises:
        NoValueError: it has none, such as 5/0. OutOfRangeError: it needs over 100,000 bits, or too many operations.
    """
    return _exact(node, values, Budget())


def try_exact(node: Expression, values: Values = NO_VALUES) -> Fraction | None:
    """`exact`; None also where there is no value."""
    try:
        return exact(node, values)
    except NoValueError:
        return None


def _exact(node: Expression, values: Values, budget: Budget) -> Fraction | None:
    match node:
        case Number(value):
            return value
        case Constant(name) | Variable(name):
            return Fraction(values[name]) if name in values else Fraction(1) if name in ("deg", "%") else None
        case Sum(terms):
            return _fold(operator.add, terms, values, budget)
        case Product(factors):
            return _fold(operator.mul, factors, values, budget)
        case Quotient(top, bottom):
            above, below = _exact(top, values, budget), _exact(bottom, values, budget)
            if below == 0:
                raise NoValueError("division by zero")
            return None if above is None or below is None else _bounded(above / below, budget)
        case Power(base, exponent):
            return _exact_power(_exact(base, values, budget), _exact(exponent, values, budget))
        case Call("sum" | "prod"):
            return _series(node, values, budget, lambda body, inside: _exact(body, inside, budget))
        case Call(name, arguments, True) if name in _EXACT:
            known = [_exact(argument, values, budget) for argument in arguments]
            return None if None in known else _EXACT[name](*known)
    return None


def _fold(
    operation: Callable[..., Fraction], nodes: tuple[Expression, ...], values: Values, budget: Budget
) -> Fraction | None:
    found = [_exact(node, values, budget) for node in nodes]
    return None if None in found else reduce(lambda a, b: _bounded(operation(a, b), budget), found)


def _bounded(number: Fraction, budget: Budget) -> Fraction:
    bits = max(number.numerator.bit_length(), number.denominator.bit_length())
    budget.spend(1 + bits // 200)
    if bits > MAX_BITS:
        raise OutOfRangeError("too many digits")
    return number


def _exact_power(base: Fraction | None, exponent: Fraction | None) -> Fraction | None:
    if base is None or exponent is None:
        return None
    if exponent.denominator != 1:
        return _exact_root(base, exponent.denominator, exponent.numerator)
    if base == 0 and exponent <= 0:
        raise NoValueError("division by zero" if exponent else "0^0")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) == 1:
        return base ** (exponent.numerator % 2)
    if base and abs(exponent) * (bits - 1) > MAX_BITS:
        raise OutOfRangeError("too many digits")
    return base**exponent.numerator


def _exact_root(number: Fraction, degree: int, power: int = 1) -> Fraction | None:
    """`number^(power/degree)` if it is rational. The root of a negative number is real for an odd degree."""
    bits = max(number.numerator.bit_length(), number.denominator.bit_length())
    if not 0 < degree <= 64 or bits > MAX_ROOT_BITS or (number < 0 and degree % 2 == 0):
        return None
    roots = [_integer_root(part, degree) for part in (abs(number.numerator), number.denominator)]
    if None in roots:
        return None
    root = Fraction(roots[0], roots[1]) * (-1 if number < 0 else 1)
    return _exact_power(root, Fraction(power))


def _integer_root(number: int, degree: int) -> int | None:
    """The exact root by Newton's method from above, None if there is none."""
    if degree == 2:
        root = math.isqrt(number)
    elif number < 2:
        root = number
    else:
        root, better = 0, 1 << -(-number.bit_length() // degree)
        while better != root:
            root, better = better, min(better, ((degree - 1) * better + number // better ** (degree - 1)) // degree)
    return root if root**degree == number else None


def _factorial(number: Fraction, step: int = 1) -> Fraction:
    if number.denominator != 1 or number < 0:
        raise NoValueError("factorial of a number that is no natural number")
    if number > MAX_FACTORIAL:
        raise OutOfRangeError("too many digits")
    return Fraction(math.prod(range(int(number), 0, -step)))


def _binomial(above: Fraction, below: Fraction) -> Fraction:
    if above.denominator != 1 or below.denominator != 1 or below < 0 or above < 0:
        raise NoValueError("binomial of a number that is no natural number")
    if above > MAX_FACTORIAL:
        raise OutOfRangeError("too many digits")
    return Fraction(math.comb(int(above), int(below)))


def _integers(function: Callable[..., int]) -> Callable[..., Fraction]:
    def apply(*numbers: Fraction) -> Fraction:
        if any(number.denominator != 1 for number in numbers):
            raise NoValueError("expected integers")
        return Fraction(function(*map(int, numbers)))

    return apply


_EXACT: dict[str, Callable[..., Fraction | None]] = {
    "root": lambda number, degree: _exact_root(number, int(degree)) if degree.denominator == 1 else None,
    "abs": abs,
    "floor": lambda number: Fraction(math.floor(number)),
    "ceil": lambda number: Fraction(math.ceil(number)),
    "factorial": _factorial,
    "factorial2": lambda number: _factorial(number, 2),
    "binom": _binomial,
    "max": max,
    "min": min,
    "gcd": _integers(math.gcd),
    "lcm": _integers(math.lcm),
}


def _series(node: Call, values: Values, budget: Budget, evaluate: Callable[[Expression, Values], Any]) -> Any:
    """The value of a `\\sum` or `\\prod` with integer bounds; None where a part has none."""
    body, index, low, high = node.arguments
    first, last = _exact(low, values, budget), _exact(high, values, budget)
    if first is None or last is None:
        return None
    if first.denominator != 1 or last.denominator != 1:
        raise NoValueError("bounds that are no integers")
    if last - first >= MAX_TERMS:
        raise OutOfRangeError("too many terms")
    total: Any = Fraction(node.name == "prod")
    for step in range(int(first), int(last) + 1):
        term = evaluate(body, {**values, index.name: Fraction(step)})
        if term is None:
            return None
        total = total + term if node.name == "sum" else total * term
        if isinstance(total, Fraction):
            _bounded(total, budget)
    return total


# Real and complex values


def numeric(node: Expression, digits: int, values: Values = NO_VALUES) -> Any:
    """The value as an mpmath number with `digits` significant digits.

    Args:
        node: an expression.
        digits: working precision.
        values: values of variables, and of "deg" and "%" (1 by default).

    Raises:
        NoValueError: it has none. OutOfRangeError: it is too large, or needs too many operations.
    """
    import mpmath

    budget = Budget()
    with mpmath.workdps(digits + 10):
        try:
            return _numeric(node, values, budget, 1 + digits // 50)
        except NoValueError:
            raise
        except (ArithmeticError, ValueError, TypeError, MemoryError) as error:
            raise NoValueError(str(error)) from error


def _numeric(node: Expression, values: Values, budget: Budget, price: int) -> Any:
    import mpmath

    budget.spend(price * _PRICE.get(node.name, 1) if isinstance(node, Call) else price)
    match node:
        case Number(value):
            return _limited(mpmath.mpf(value.numerator) / value.denominator)
        case Constant(name) if name in _CONSTANTS and name not in values:
            return _CONSTANTS[name](mpmath)
        case Constant(name) | Variable(name):
            if name not in values:
                raise NoValueError(f"{name} has no value")
            value = values[name]
            return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else mpmath.mpf(value)
        case Sum(terms):
            return _limited(reduce(lambda a, b: a + b, (_numeric(term, values, budget, price) for term in terms)))
        case Product(factors):
            return _limited(reduce(lambda a, b: a * b, (_numeric(factor, values, budget, price) for factor in factors)))
        case Quotient(top, bottom):
            return _limited(_numeric(top, values, budget, price) / _numeric(bottom, values, budget, price))
        case Power(base, exponent):
            return _real_power(_numeric(base, values, budget, price), _numeric(exponent, values, budget, price))
        case Call("sum" | "prod"):
            total = _series(node, values, budget, lambda body, inside: _numeric(body, inside, budget, price))
            if total is None:
                raise NoValueError("bounds that are no integers")
            return mpmath.mpf(total.numerator) / total.denominator if isinstance(total, Fraction) else total
        case Call(name, arguments, known):
            return _call(
                name,
                [_numeric(argument, _inside(name, values), budget, price) for argument in arguments],
                known,
                values,
            )
    raise NoValueError(f"no expression: {node!r}")


_UNKNOWN_BASE = 0.8341712937  # 1 over the natural logarithm of the base of a log without one: nobody's base

_PRICE = dict.fromkeys(["sin", "cos", "tan", "sec", "csc", "cot", "ln", "lg", "log", "log_base", "exp", "root"], 8)
"""Operations that a function counts for; 1 for others."""

_CONSTANTS: dict[str, Callable[[Any], Any]] = {
    "pi": lambda mp: +mp.pi,
    "e": lambda mp: +mp.e,
    "i": lambda mp: mp.mpc(0, 1),
    "deg": lambda mp: mp.mpf(1),
    "%": lambda mp: mp.mpf(1),
}
_FORWARD = frozenset(["sin", "cos", "tan", "sec", "csc", "cot"])


def _inside(name: str, values: Values) -> Values:
    """The values for the argument of a function: a degree is pi/180 in a trigonometric one."""
    if name not in _FORWARD:
        return values
    import mpmath

    return {**values, "deg": mpmath.pi / 180}


def _limited(number: Any) -> Any:
    import mpmath

    if not mpmath.isfinite(number):
        raise NoValueError("not finite")
    if number and abs(mpmath.mag(number)) > MAX_BITS:
        raise OutOfRangeError("too large")
    return number


def _real_power(base: Any, exponent: Any) -> Any:
    import mpmath

    if not base and (not exponent or mpmath.re(exponent) < 0):
        raise NoValueError("division by zero")
    if base and abs(exponent) * max(1, abs(mpmath.mag(base))) > MAX_BITS:
        raise OutOfRangeError("too large")
    return _limited(mpmath.power(base, exponent))


def _call(name: str, arguments: list[Any], known: bool, values: Values) -> Any:
    import mpmath

    if not known:  # the same arguments give the same value, and others another one
        text = repr((name, values.get("trial"), [mpmath.nstr(argument, 30) for argument in arguments]))
        return mpmath.mpf(int.from_bytes(hashlib.sha256(text.encode()).digest()[:12], "big")) / 2**90
    if name == "root":
        number, degree = arguments
        if mpmath.im(number) == 0 and mpmath.re(number) < 0 and degree == int(degree) and int(degree) % 2:
            return -_real_power(-number, 1 / degree)
        return _real_power(number, 1 / degree)
    if name == "log":  # without a base: that of the text, which may be e, 10 or 2
        return mpmath.log(_positive(arguments[0])) * _UNKNOWN_BASE
    if name in ("factorial", "factorial2"):
        if abs(arguments[0]) > MAX_FACTORIAL:
            raise OutOfRangeError("too large")
        return _limited(mpmath.factorial(arguments[0]) if name == "factorial" else mpmath.fac2(arguments[0]))
    if name in ("floor", "ceil", "max", "min") and any(mpmath.im(argument) for argument in arguments):
        raise NoValueError("complex")
    if name == "exp":
        return _real_power(mpmath.e, arguments[0])
    if name not in _REAL:
        raise NoValueError(f"{name} is unknown")
    return _limited(_REAL[name](mpmath)(*arguments))


def _positive(number: Any) -> Any:
    if not number:
        raise NoValueError("logarithm of 0")
    return number


_SAME_NAME = "sin cos tan sec csc cot sinh cosh tanh asin acos atan floor ceil"  # in mpmath
_REAL: dict[str, Callable[[Any], Callable[..., Any]]] = {
    **{name: operator.attrgetter(name) for name in _SAME_NAME.split()},
    "abs": lambda mp: abs,
    "ln": lambda mp: lambda x: mp.log(_positive(x)),
    "lg": lambda mp: lambda x: mp.log10(_positive(x)),
    "log_base": lambda mp: lambda x, base: mp.log(_positive(x)) / mp.log(_positive(base)),
    "acot": lambda mp: lambda x: mp.pi / 2 - mp.atan(x),
    "binom": lambda mp: mp.binomial,
    "max": lambda mp: max,
    "min": lambda mp: min,
}
