"""Rules for numbers, quantities and expressions: units, degrees and percent, then the values."""

from __future__ import annotations

from fractions import Fraction

from echorl_vl.answers.equality import Options, equal
from echorl_vl.answers.evaluate import try_exact
from echorl_vl.answers.kinds import Reading, Value
from echorl_vl.answers.tree import (
    DEGREE,
    ONE,
    Call,
    Constant,
    Expression,
    Number,
    Product,
    Quotient,
    Sum,
    has,
    negated,
    replace,
    variables,
    walk,
)
from echorl_vl.answers.units import Unit
from echorl_vl.answers.verdict import Comparer, Verdict

_INVERSE = frozenset(["asin", "acos", "atan", "acot"])
_PI, _TWO = Constant("pi"), Number(Fraction(2))


def values(answer: Value, truth: Value, same: Comparer) -> Verdict:
    """Two values are equal if one reading of each agrees."""
    faults: dict[str, bool] = {}  # each with whether both readings have a unit, and so say more
    for expected in truth.readings:
        for given in answer.readings:
            fault = _readings(given, expected, same.options)
            if not fault:
                return Verdict(True, f"{answer} equals {truth}")
            faults[fault] = is_measured(given) and is_measured(expected)
    reason = max(faults, key=lambda fault: faults[fault])
    return Verdict(False, f"{answer} is not {truth}: {reason}")


def _readings(given: Reading, expected: Reading, options: Options) -> str:
    """Why two readings differ; empty if they agree."""
    if given.words != expected.words:
        return f"{' '.join(given.words) or 'no words'!r} against {' '.join(expected.words) or 'no words'!r}"
    if given.nouns and expected.nouns and [_stem(one) for one in given.nouns] != [_stem(one) for one in expected.nouns]:
        return f"{' '.join(given.nouns)} are not {' '.join(expected.nouns)}"
    if is_measured(given) and is_measured(expected) and bool(given.nouns) != bool(expected.nouns):
        return "different units"
    if given.unit or expected.unit:
        return _with_units(given, expected, options)
    if given.sign or expected.sign:
        return _with_signs(given, expected, options)
    return _unless(equal(given.tree, expected.tree, options))


def is_measured(reading: Reading) -> bool:
    """Whether a reading has a unit, a sign or counted nouns."""
    return bool(reading.nouns or reading.sign or reading.unit)


def _unless(equal: bool, fault: str = "the values differ") -> str:
    return "" if equal else fault


def _stem(noun: str) -> str:
    return noun.removesuffix("s")


def _with_units(given: Reading, expected: Reading, options: Options) -> str:
    """A unit on one side or both."""
    one, other = given.unit, expected.unit
    if one and other:
        if {one.name, other.name} == {"°C", "°F"}:
            converted = _converted(expected.tree, other.name)
            return _unless(equal(given.tree, converted, options), "°C and °F: the values differ")
        if given.sign != expected.sign or not _comparable(one, other):
            return f"the unit {one.name} is not {other.name}"
        if "unit" in dict(one.dimension) or "unit" in dict(other.dimension):
            return _unless(equal(given.tree, expected.tree, options))
        same = equal(given.tree, expected.tree, options, factor=other.factor / one.factor)
        return _unless(same, f"{one.name} and {other.name}: the values differ")
    unit = one or other
    assert unit is not None
    if given.sign or expected.sign:
        return _radians(given, expected, options) if unit.dimension == (("angle", 1),) else "different units"
    if options.units == "required" or given.compound or expected.compound or not unit.optional:
        return f"the unit {unit.name} is on one side only"
    if not unit.certain and (unit is other or variables(expected.tree)):
        return f"{unit.name} may be a variable"
    return _unless(equal(given.tree, expected.tree, options))


def _comparable(one: Unit, other: Unit) -> bool:
    """Whether two units have the same dimension. "Units" are those of a length: square units may be cm^2."""
    as_lengths = [
        tuple(("length" if name == "unit" else name, power) for name, power in each.dimension) for each in (one, other)
    ]
    return as_lengths[0] == as_lengths[1]


def _converted(temperature: Expression, scale: str) -> Expression:
    """A temperature in °C, from °F, or the other way round."""
    ratio, offset = Number(Fraction(9, 5)), Number(Fraction(32))
    if scale == "°C":
        return Sum((Product((ratio, temperature)), offset))
    return Quotient(Sum((temperature, negated(offset))), ratio)


def _radians(given: Reading, expected: Reading, options: Options) -> str:
    """An angle in radians against one in degrees."""
    same = equal(_in_radians(given.tree), _in_radians(expected.tree), options)
    return _unless(same, "radians and degrees: the values differ")


def _in_radians(tree: Expression) -> Expression:
    radian = Quotient(Constant("pi"), Number(Fraction(180)))
    return replace(tree, lambda leaf: radian if leaf == DEGREE else leaf)


def _with_signs(given: Reading, expected: Reading, options: Options) -> str:
    """Degrees and percent, on one side or both."""
    if given.sign and expected.sign:
        if given.sign != expected.sign:
            return "degrees against percent"
        return _unless(equal(given.tree, expected.tree, options))
    if options.units == "required":
        return "a sign on one side only"
    if given.compound or expected.compound:
        return "minutes of an angle on one side only"
    sign = given.sign or expected.sign
    plain = expected.tree if given.sign else given.tree
    if sign == "deg":
        if _is_angle(plain):
            written = has(given.tree, _PI) and has(expected.tree, _PI)  # 10 pi degrees, from a copied 10 pi
            if written and equal(given.tree, expected.tree, Options(tolerance=0.0, quick=options.quick)):
                return ""
            return _radians(given, expected, options)
        return _unless(equal(given.tree, expected.tree, options))
    hundredth = {"%": Fraction(1, 100)}
    if equal(given.tree, expected.tree, options, scale=hundredth):
        return ""
    value = try_exact(plain)
    if value is not None and abs(value) <= 1 and value not in (0, 1):
        return "a percentage of a number below 1"  # 0.5 % is not 0.5
    return _unless(equal(given.tree, expected.tree, options))


def _is_angle(tree: Expression) -> bool:
    """Whether a number is in radians: a rational multiple of pi, or an inverse function without a conversion by pi."""
    if any(isinstance(node, Call) and node.name in _INVERSE for node in walk(tree)):
        return not has(tree, _PI)
    once, twice = (try_exact(replace(tree, lambda leaf, pi=pi: pi if leaf == _PI else leaf)) for pi in (ONE, _TWO))
    return has(tree, _PI) and once is not None and twice == 2 * once
