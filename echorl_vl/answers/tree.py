"""Expression trees: what `expressions` parses and `evaluate` computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Number:
    """A literal.

    Attributes:
        value: its exact value.
        decimals: digits after the point ("12.50": 2, "4.4e7": -6); None for integers.
        repeating: whether it is a repeating decimal, which is exact.
    """

    value: Fraction
    decimals: int | None = None
    repeating: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """pi, e, i, inf; `deg`: a degree sign; `%`: a percent sign; `pm`: the sign of a `\\pm`, 1 or -1."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable or a geometric name, such as `x_1`, `x'` or `angle ABC`."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Product:
    factors: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    top: Expression
    bottom: Expression


@dataclass(frozen=True, slots=True)
class Power:
    base: Expression
    exponent: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """A function of one or more arguments. `known` is False for a function of the text, such as `f(x)`."""

    name: str
    arguments: tuple[Expression, ...]
    known: bool = True


Expression = Number | Constant | Variable | Sum | Product | Quotient | Power | Call

ONE, MINUS_ONE = Number(Fraction(1)), Number(Fraction(-1))
DEGREE, PERCENT, PLUS_MINUS = Constant("deg"), Constant("%"), Constant("pm")


def children(node: Expression) -> tuple[Expression, ...]:
    """The operands of a node."""
    match node:
        case Sum(terms):
            return terms
        case Product(factors):
            return factors
        case Quotient(top, bottom):
            return top, bottom
        case Power(base, exponent):
            return base, exponent
        case Call(_, arguments, _):
            return arguments
    return ()


def walk(node: Expression) -> Iterator[Expression]:
    """Yield a node and all nodes below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def replace(node: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """A copy in which each leaf is replaced by `change(leaf)`."""
    match node:
        case Sum(terms):
            return Sum(tuple(replace(term, change) for term in terms))
        case Product(factors):
            return Product(tuple(replace(factor, change) for factor in factors))
        case Quotient(top, bottom):
            return Quotient(replace(top, change), replace(bottom, change))
        case Power(base, exponent):
            return Power(replace(base, change), replace(exponent, change))
        case Call(name, arguments, known):
            return Call(name, tuple(replace(argument, change) for argument in arguments), known)
    return change(node)


def negated(node: Expression) -> Expression:
    """Minus the node."""
    if isinstance(node, Number):
        return Number(-node.value, node.decimals, node.repeating)
    return Product((MINUS_ONE, node))


def variables(node: Expression) -> frozenset[str]:
    """Names of the variables; `\\sum` and the like bind theirs."""
    if isinstance(node, Call) and node.name in ("sum", "prod"):
        body, index, low, high = node.arguments
        return (variables(body) - variables(index)) | variables(low) | variables(high)
    if isinstance(node, Variable):
        return frozenset([node.name])
    return frozenset().union(*(variables(child) for child in children(node)))


def has(node: Expression, leaf: Expression) -> bool:
    """Whether a leaf occurs in the tree."""
    return any(one == leaf for one in walk(node))


def plus_minus(node: Expression) -> tuple[Expression, ...]:
    """The two expressions of one with `\\pm`, or the expression itself."""
    if not has(node, PLUS_MINUS):
        return (node,)
    return tuple(
        replace(node, lambda leaf, sign=sign: sign if leaf == PLUS_MINUS else leaf) for sign in (ONE, MINUS_ONE)
    )
