"""Whether two expressions are equal, and when a decimal is accepted for an exact value.

Rational numbers are compared exactly. Other numbers are computed to 60 digits, and if they agree there, to 1,000. An
expression with variables is evaluated at 14 fixed points with coordinates of both signs from 1/7 to 1,000: exactly
where the value is rational, else with 120 digits, of which 100 have to agree. It is no proof (a function may differ
from another only beyond 1,000), but it takes milliseconds, where a proof by simplification may take for ever.

**When a decimal is accepted for an exact value.** Let t be the ground truth and a the answer.
- Equal values are correct in any form: 30, 60/2, \\sqrt{900}.
- t is an integer, or a fraction with at most three decimals (51/4 = 12.75): only the value itself is correct.
- t is any other exact expression (3\\sqrt{3} = 5.196...): a decimal with d >= 1 digits after the point is correct if
  it is t rounded to d digits: 5.2, 5.20 or 5.196. Not 5.1, and not 5 (unless `rounded_integers` is set).
- t is a decimal with k digits after the point (5.2): an answer that rounds to t at k digits is correct, such as 5.196
  or 3\\sqrt{3}. In scientific notation (6.63e-34) k counts from the digits of the number in front.
- In all cases |a - t| <= tolerance * max(1, |t|) (for |t| < 0.1: tolerance * |t|), so 1.7 is not sqrt(3).
- A repeating decimal is exact: 0.\\overline{3} is 1/3, and not 0.3.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from echorl_vl.answers.evaluate import NO_VALUES, NoValueError, Values, exact, numeric, try_exact
from echorl_vl.answers.tree import Call, Constant, Expression, Number, Power, Product, has, variables, walk

TOLERANCE = 1e-2
_DIGITS, _MANY_DIGITS = 60, 1000
_POINT_DIGITS = 120
_TINY = 1e-50
_SLACK = 1 + Fraction(1, 10**6)  # for values exactly on a bound, such as 5.25 rounded to 5.2
_I = Constant("i")
_ONE = Fraction(1)


@dataclass(frozen=True)
class Options:
    """What counts as correct.

    Attributes:
        tolerance: largest relative error of a rounded decimal; 0: numbers have to be equal.
        error: absolute tolerance, in the place of the rules for decimals; None: those rules.
        units: "optional": a unit on one side only is accepted; "required": both sides need the same.
        rounded_integers: whether 5 is accepted for 3\\sqrt{3} = 5.196...
        quick: raise `UndecidedError` where expressions with variables would have to be evaluated.

    Raises:
        ValueError: a value is out of range.
    """

    tolerance: float = TOLERANCE
    error: float | None = None
    units: Literal["optional", "required"] = "optional"
    rounded_integers: bool = False
    quick: bool = False

    def __post_init__(self) -> None:
        for name in ("tolerance", "error"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected a number >= 0, got {value}")
        if self.units not in ("optional", "required"):
            raise ValueError(f"units: expected optional or required, got {self.units!r}")


class UndecidedError(Exception):
    """Only the evaluation of expressions with variables can decide."""


def literal(tree: Expression, scale: Values = NO_VALUES) -> Number | None:
    """The decimal that an expression is: a literal, with a sign or percent, or times a power of ten."""
    if isinstance(tree, Number):
        return tree
    if not isinstance(tree, Product):
        return None
    numbers = [factor for factor in tree.factors if isinstance(factor, Number)]
    value, decimals = (numbers[0].value, numbers[0].decimals) if len(numbers) == 1 else (Fraction(0), None)
    shift = 0
    for factor in tree.factors:
        if isinstance(factor, Constant) and factor.name in ("deg", "%"):
            shift -= 2 if factor.name == "%" and scale.get("%", 1) != 1 else 0
        elif isinstance(factor, Power) and isinstance(factor.base, Number) and factor.base.value == 10:
            power = try_exact(factor.exponent)
            if power is None or power.denominator != 1 or abs(power) > 1000:
                return None
            shift += int(power)
        elif factor is not numbers[0] if numbers else True:
            return None
    return Number(value * Fraction(10) ** shift, None if decimals is None else decimals - shift)


def equal(
    answer: Expression, truth: Expression, options: Options, scale: Values = NO_VALUES, factor: Fraction = _ONE
) -> bool:
    """Whether an answer is correct for a ground truth.

    Args:
        answer: its expression.
        truth: its expression.
        options: see `Options`.
        scale: values of "deg" and "%" on both sides.
        factor: what the truth is multiplied by first, to convert its unit.
    """
    if factor != 1:
        truth = Product((Number(factor), truth))
    if answer == truth:
        return True
    if variables(answer) or variables(truth):
        return bool(variables(answer) and variables(truth)) and same_function(answer, truth, options, scale)
    try:
        a, t = exact(answer, scale), exact(truth, scale)
        if a is not None and t is not None:
            return a == t or _rounds(a, t, literal(answer, scale), literal(truth, scale), True, options)
        return _equal_reals(answer, truth, options, scale, t is not None)
    except NoValueError:
        return False


def _equal_reals(answer: Expression, truth: Expression, options: Options, scale: Values, rational: bool) -> bool:
    a, t = (numeric(tree, _DIGITS, scale) for tree in (answer, truth))
    if _close(a, t, _DIGITS - 5) or (max(abs(a), abs(t)) < _TINY and 0 in (a, t)):
        return _equal_to_many_digits(answer, truth, scale, abs(a - t))
    if getattr(a, "imag", 0) or getattr(t, "imag", 0):
        return False
    return _rounds(_fraction(a), _fraction(t), literal(answer, scale), literal(truth, scale), rational, options)


def _equal_to_many_digits(answer: Expression, truth: Expression, scale: Values, distance: Any) -> bool:
    """Whether two values stay equal with more digits, where a `distance` that was rounding alone shrinks."""
    import mpmath

    a, t = (numeric(tree, _MANY_DIGITS, scale) for tree in (answer, truth))
    with mpmath.workdps(_MANY_DIGITS):
        return _close(a, t, _MANY_DIGITS - 10) or bool(abs(a - t) < distance * mpmath.mpf(10) ** (-_MANY_DIGITS // 2))


def _close(a: Any, t: Any, digits: int) -> bool:
    import mpmath

    with mpmath.workdps(digits + 20):
        return bool(abs(a - t) <= max(abs(a), abs(t)) * mpmath.mpf(10) ** -digits)


def _fraction(number: Any) -> Fraction:
    import mpmath

    real = mpmath.re(number)
    return Fraction(*map(int, mpmath.libmp.to_rational(real._mpf_)))


def _rounds(
    a: Fraction, t: Fraction, given: Number | None, expected: Number | None, rational: bool, options: Options
) -> bool:
    """Whether `a` is correct as a rounded value of `t`, or rounds to it. `rational`: t is an exact rational number."""
    distance, size = abs(a - t), abs(t)
    if options.error is not None:
        return distance <= Fraction(options.error) * (1 + Fraction(1, 10**9))
    if not options.tolerance or (given and given.repeating) or not distance:
        return not distance
    if rational and t.denominator == 1 and (expected is None or expected.decimals is None or expected.decimals >= 0):
        return False
    expected_is_exact = expected is None or expected.decimals is None
    if not expected_is_exact:
        digits = expected.decimals
    elif given is None or (rational and (1000 * t).denominator == 1):
        return False
    elif given.decimals is None:
        if not options.rounded_integers:
            return False
        digits = 0
    else:
        digits = given.decimals
    if _same_float(a, t):  # more digits than a float's are not needed: 3.3333333333333335 is 10/3
        return given is not None and given.decimals is not None and given.decimals > 12
    scale = size if size < Fraction(1, 10) else max(1, size)
    half = Fraction(10) ** -digits / 2
    if distance == half and abs(a) < size and expected_is_exact:  # 0.125 is rounded to 0.13, not to 0.12
        return False
    return distance <= half * _SLACK and distance <= Fraction(options.tolerance) * scale * _SLACK


def _same_float(a: Fraction, t: Fraction) -> bool:
    try:
        return float(a) == float(t) != 0
    except OverflowError:
        return False


# Expressions with variables


def same_function(left: Expression, right: Expression, options: Options, scale: Values = NO_VALUES) -> bool:
    """Whether two expressions with variables agree at all points where they are real."""
    return _holds_at_points([left, right], scale, lambda values: values[0] == values[1] or _agree(*values), options)


def same_equation(
    one: Sequence[Expression], other: Sequence[Expression], options: Options, positive: bool = False
) -> bool:
    """Whether left - right of two equations differ by a constant factor only, which is positive for inequalities."""
    ratios: list[Any] = []

    def hold(values: Sequence[Any]) -> bool:
        a, b = values[0] - values[1], values[2] - values[3]
        if not a or not b:
            return not a and not b
        ratios.append(a / b)
        return (not positive or ratios[-1] > 0) and (ratios[-1] == ratios[0] or _agree(ratios[-1], ratios[0]))

    return _holds_at_points([*one, *other], {}, hold, options) and bool(ratios)


def _agree(a: Any, b: Any) -> bool:
    """Whether two values are equal up to rounding, of which at least one is no fraction."""
    both_exact = isinstance(a, Fraction) and isinstance(b, Fraction)
    return not both_exact and _close(_real(a), _real(b), digits=_POINT_DIGITS - 20)


def _real(value: Any) -> Any:
    import mpmath

    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _holds_at_points(
    trees: Sequence[Expression], scale: Values, holds: Callable[[Sequence[Any]], bool], options: Options
) -> bool:
    """Whether a relation holds at every point where all expressions are real, and at three points at least."""
    if options.quick:
        raise UndecidedError
    names = sorted(frozenset().union(*(variables(tree) for tree in trees)))
    if len(names) > 12 or sum(1 for tree in trees for _ in walk(tree)) > 2000:
        return False
    complex_allowed = any(has(tree, _I) for tree in trees)
    natural = frozenset().union(*(_natural(tree) for tree in trees))
    import mpmath

    count = 0
    with mpmath.workdps(_POINT_DIGITS + 20):
        for trial, point in enumerate(_points(names, natural)):
            values = [_value(tree, {**scale, **point, "trial": trial}, complex_allowed) for tree in trees]
            undefined = [value is None for value in values]
            if all(undefined):
                continue
            if any(undefined) or not holds([_real(value) for value in values] if _mixed(values) else values):
                return False
            count += any(values)  # where all are 0, as in 0x, they say nothing
    return count >= 3


def _mixed(values: Sequence[Any]) -> bool:
    return len({isinstance(value, Fraction) for value in values}) > 1


def _natural(tree: Expression) -> frozenset[str]:
    """Variables that are natural numbers: exponents of negative numbers, bounds of sums, numbers with a factorial."""
    found: set[str] = set()
    for node in walk(tree):
        if isinstance(node, Power) and variables(node.exponent) and not variables(node.base):
            base = try_exact(node.base)
            found |= variables(node.exponent) if base is not None and base < 0 else frozenset()
        if isinstance(node, Call) and node.name in ("sum", "prod"):
            found |= variables(node.arguments[2]) | variables(node.arguments[3])
        if isinstance(node, Call) and node.name in ("gcd", "lcm", "factorial", "factorial2", "binom"):
            found |= variables(node)
    return frozenset(found)


_SIZES = (1, 3, 1, 1000, 3, 40, 1, 3, 1, 1000, 3, 40, 1, 3)  # of the coordinates at each point
_NATURALS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 20, 41, 2, 3)


def _points(names: Sequence[str], natural: frozenset[str]) -> Iterator[dict[str, Fraction]]:
    """Fixed points, the same in every run: all coordinates positive, all negative, and of both signs."""
    for trial, size in enumerate(_SIZES):
        point = {}
        for place, name in enumerate(names):
            digest = hashlib.sha256(f"{name} {trial}".encode()).digest()
            if name in natural:
                point[name] = Fraction(_NATURALS[trial] + digest[7] % 3 * (place > 0))
                continue
            coordinate = Fraction(int.from_bytes(digest[:6], "big") % 99_991 + 1, 99_989) * size + Fraction(
                1, 7 + trial
            )
            negative = trial in (2, 3, 4, 5) or (trial > 7 and (digest[6] + place) % 2)
            point[name] = -coordinate if negative else coordinate
        yield point


def _value(tree: Expression, values: Values, complex_allowed: bool) -> Any:
    """The value, as a fraction where it is rational; None if there is none, or none that is real."""
    try:
        known = exact(tree, values)
        value = numeric(tree, _POINT_DIGITS, values) if known is None else known
    except NoValueError:
        return None
    return value if complex_allowed or not getattr(value, "imag", 0) else None
