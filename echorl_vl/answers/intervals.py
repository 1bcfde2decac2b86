"""Intervals, and inequalities that are solved for one variable: x < 2 is (-\\infty, 2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from echorl_vl.answers.evaluate import NoValueError, numeric, try_exact
from echorl_vl.answers.expressions import try_expression
from echorl_vl.answers.kinds import Answer, Inequality, Interval, Intervals, Items, Value
from echorl_vl.answers.tokens import Token, split
from echorl_vl.answers.tree import Call, Constant, Expression, Number, Sum, Variable, negated, variables

ORDER = ("<", ">", r"\leq", r"\geq")
_MIRRORED = {"<": ">", ">": "<", r"\leq": r"\geq", r"\geq": r"\leq"}
_INFINITY = Constant("inf")
_MINUS_INFINITY = negated(_INFINITY)

Parser = Callable[[Sequence[Token]], Answer]


def reals(text: str) -> Intervals:
    """All real numbers."""
    return Intervals(text, (Interval(_MINUS_INFINITY, _INFINITY, False, False),))


def from_brackets(text: str, opening: str, parts: Sequence[Sequence[Token]], closing: str) -> Answer:
    """[a, b) or (a, b]."""
    ends = [try_expression(part) for part in parts]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or opening not in "([" or closing not in ")]":
        return Answer(text)
    return Intervals(text, (Interval(ends[0], ends[1], opening == "[", closing == "]"),))


def as_intervals(answer: Answer) -> Intervals | None:
    """An interval, also one that was read as a pair: (2, 3), [2, 3]; None if the answer is no interval."""
    if isinstance(answer, Intervals):
        return answer
    if not isinstance(answer, Items) or answer.brackets not in ("(", "[") or len(answer.items) != 2:
        return None
    ends = [item.readings[0].tree for item in answer.items if isinstance(item, Value)]
    closed = answer.brackets == "["
    return Intervals(answer.text, (Interval(ends[0], ends[1], closed, closed),)) if len(ends) == 2 else None


def inequality(tokens: Sequence[Token], text: str) -> Answer:
    """x < 2, 1 \\leq x < 3, or an inequality that is not solved."""
    signs = [token.text for token in tokens if token.text in ORDER]
    parts = split(tokens, ORDER)
    sides = [try_expression(part) for part in parts]
    if None in sides or len(sides) != len(signs) + 1 or len(sides) > 3:
        return Answer(text)
    if len(sides) == 2:
        left, right = sides
        if isinstance(right, Variable) and not variables(left):
            left, right, signs = right, left, [_MIRRORED[signs[0]]]
        if isinstance(left, Variable) and not variables(right):
            return Intervals(text, (_half_line(signs[0], right),), left.name)
        if signs[0] in (">", r"\geq"):
            left, right, signs = right, left, [_MIRRORED[signs[0]]]
        return _solved(left, right, signs[0], text) or Inequality(text, left, right, signs[0] == r"\leq")
    low, middle, high = sides
    downwards = signs[0] in (">", r"\geq")
    if (
        downwards != (signs[1] in (">", r"\geq"))
        or not isinstance(middle, Variable)
        or variables(low)
        or variables(high)
    ):
        return Answer(text)
    closed = [sign in (r"\leq", r"\geq") for sign in signs]
    if downwards:
        low, high, closed = high, low, closed[::-1]
    return Intervals(text, (Interval(low, high, *closed),), middle.name)


def _solved(left: Expression, right: Expression, sign: str, text: str) -> Intervals | None:
    """The solution of a linear inequality, or of one with the absolute value of a linear term: |x - 4| < 3."""
    names = sorted(variables(left) | variables(right))
    if len(names) != 1:
        return None
    [name] = names
    outside = isinstance(right, Call) and right.name == "abs" and not variables(left)  # 3 < |x - 4|
    inside = isinstance(left, Call) and left.name == "abs" and not variables(right)
    if inside or outside:
        middle, radius = (left.arguments[0], right) if inside else (right.arguments[0], left)
        slope, size = _linear(middle, name), try_exact(radius)
        if slope is None or size is None or size <= 0:
            return None
        ends = sorted((way * size - slope[1]) / slope[0] for way in (1, -1))
        low, high = (Number(end) for end in ends)
        closed = sign == r"\leq"
        if inside:
            return Intervals(text, (Interval(low, high, closed, closed),), name)
        parts = Interval(_MINUS_INFINITY, low, False, closed), Interval(high, _INFINITY, closed, False)
        return Intervals(text, parts, name)
    slope = _linear(Sum((left, negated(right))), name)
    if slope is None:
        return None
    return Intervals(text, (_half_line(sign if slope[0] > 0 else _MIRRORED[sign], Number(-slope[1] / slope[0])),), name)


def _linear(tree: Expression, name: str) -> tuple[Fraction, Fraction] | None:
    """Slope and intercept of a linear function; None if it is none, or not rational."""
    values = [try_exact(tree, {name: Fraction(x)}) for x in (0, 1, 2, 7)]
    if None in values:
        return None
    slope = values[1] - values[0]
    linear = values[2] == values[0] + 2 * slope and values[3] == values[0] + 7 * slope
    return (slope, values[0]) if linear and slope else None


def _half_line(sign: str, end: Expression) -> Interval:
    if sign in ("<", r"\leq"):
        return Interval(_MINUS_INFINITY, end, False, sign == r"\leq")
    return Interval(end, _INFINITY, sign == r"\geq", False)


def unequal(left: Sequence[Token], right: Sequence[Token], text: str) -> Intervals | None:
    """x \\neq 3: all numbers but one."""
    variable, value = try_expression(left), try_expression(right)
    if not isinstance(variable, Variable) or value is None or variables(value):
        return None
    parts = Interval(_MINUS_INFINITY, value, False, False), Interval(value, _INFINITY, False, False)
    return Intervals(text, parts, variable.name)


def named(answer: Answer, variable: str, text: str) -> Answer:
    """x \\in [2, 3]."""
    found = as_intervals(answer)
    return Intervals(text, found.parts, variable) if found else Answer(text)


def combined(parsed: Sequence[Answer], text: str, words: Collection[str]) -> Answer | None:
    """Several inequalities or intervals in a list: their union, or with "and" the numbers in all of them.

    Two inequalities with a comma between them may mean both, so they have to be disjoint. None if the list is of
    something else.
    """
    if not all(isinstance(one, Intervals) for one in parsed):
        return None
    names = {one.variable for one in parsed if one.variable}
    if len(names) != 1:
        return None if names else Intervals(text, tuple(part for one in parsed for part in one.parts))
    parts = [part for one in parsed for part in one.parts]
    if "and" in words:
        if len(parts) != 2:
            return Answer(text)
        low = next((part for part in parts if part.low != _MINUS_INFINITY), None)
        high = next((part for part in parts if part.high != _INFINITY), None)
        if low is None or high is None or low is high:
            return Answer(text)
        parts = [Interval(low.low, high.high, low.low_closed, high.high_closed)]
    elif "or" not in words and any(
        _position(one.high) > _position(two.low) for one, two in pairwise(sorted_parts(parts))
    ):
        return Answer(text)
    return Intervals(text, tuple(parts), names.pop())


def set_operation(tokens: Sequence[Token], text: str, parse: Parser) -> Answer | None:
    """A union of intervals, of sets in braces, or all numbers without some."""
    unions = split(tokens, (r"\cup",))
    if len(unions) > 1:
        if not all(unions):
            return Answer(text)
        parsed = [parse(part) for part in unions]
        if all(isinstance(one, Items) and one.brackets == "{" for one in parsed):
            return Items(text, "{", tuple(item for one in parsed for item in one.items))
        found = [as_intervals(one) for one in parsed]
        points = [
            _points(one) if interval is None else interval.parts for one, interval in zip(parsed, found, strict=True)
        ]
        names = {one.variable for one in found if one and one.variable}
        if None in points or len(names) > 1:
            return Answer(text)
        return Intervals(text, tuple(part for parts in points for part in parts), names.pop() if names else None)
    without = split(tokens, (r"\setminus",))
    if len(without) == 1 and tokens[0].text in (r"\R", r"\mathbb") and len(split(tokens, ("-",))) == 2:
        without = split(tokens, ("-",))
    if len(without) != 2 or not all(without):
        return None
    whole, removed = as_intervals(parse(without[0])), parse(without[1])
    values = _points(removed)
    if whole is None or whole.parts != reals("").parts or values is None:
        return Answer(text)
    ends = sorted((part.low for part in values), key=_position)
    cuts = [_MINUS_INFINITY, *ends, _INFINITY]
    return Intervals(text, tuple(Interval(low, high, False, False) for low, high in pairwise(cuts)))


def _points(answer: Answer) -> tuple[Interval, ...] | None:
    """The members of a set in braces as intervals of one number; None if it is another set."""
    if (
        not isinstance(answer, Items)
        or answer.brackets != "{"
        or not all(isinstance(item, Value) for item in answer.items)
    ):
        return None
    trees = [item.readings[0].tree for item in answer.items if isinstance(item, Value)]
    if any(variables(tree) for tree in trees):
        return None
    return tuple(Interval(tree, tree, True, True) for tree in trees)


def set_builder(inner: Sequence[Token], text: str, parse: Parser) -> Answer | None:
    """\\{x | x > 2\\}; None if it is none."""
    for sign in ("|", ":"):
        parts = split(inner, (sign,))
        if len(parts) == 2 and parts[0] and parts[1] and parts[0][0].kind == "word":
            domain = "".join(token.text for token in parts[0][1:])
            if domain not in ("", r"\in\mathbb{R}", r"\inR", r"\in\R"):  # integers are no interval
                return Answer(text)
            condition = parse(parts[1])
            return condition if isinstance(condition, Intervals) else Answer(text)
    return None


def sorted_parts(parts: Sequence[Interval]) -> list[Interval]:
    """Intervals from low to high."""
    return sorted(parts, key=lambda part: (_position(part.low), _position(part.high)))


def _position(end: Expression) -> Any:
    if end in (_INFINITY, _MINUS_INFINITY):
        return float("inf") if end == _INFINITY else float("-inf")
    try:
        value = try_exact(end)
        return float(value) if value is not None else float(numeric(end, 20))
    except (NoValueError, OverflowError, TypeError):
        return 0.0
