"""The kinds of answers. Each parsed answer keeps its text, and prints as a short description."""

from __future__ import annotations

from dataclasses import dataclass, field

from echorl_vl.answers.names import Name
from echorl_vl.answers.tree import DEGREE, PERCENT, Expression, has, variables
from echorl_vl.answers.units import Unit


@dataclass(frozen=True)
class Answer:
    """A parsed answer. `text` is the canonical text: two answers with the same text are the same."""

    text: str

    label = "text"

    def __str__(self) -> str:
        return f"the {self.label} {self.text!r}"


@dataclass(frozen=True)
class Reading:
    """A value and what is written around it.

    Attributes:
        tree: the expression.
        unit: its unit; degrees and percent are part of the expression.
        nouns: counted nouns (apples), which may be left out.
        words: other words (east, increase), which may not.
        compound: whether it was several numbers with units, such as 5 ft 6 in.
    """

    tree: Expression
    unit: Unit | None = None
    nouns: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    compound: bool = False

    @property
    def sign(self) -> str:
        """ "deg" or "%" if the expression has this sign; else empty."""
        return "deg" if has(self.tree, DEGREE) else "%" if has(self.tree, PERCENT) else ""


@dataclass(frozen=True)
class Value(Answer):
    """A number, a quantity or an expression. Several readings: `5 m` is 5 metres or 5 times m."""

    readings: tuple[Reading, ...] = ()

    @property
    def label(self) -> str:  # type: ignore[override]
        numbers = [one for one in self.readings if not variables(one.tree)]
        if not numbers:
            return "expression"
        return "quantity" if any(one.unit or one.sign or one.nouns or one.words for one in numbers) else "number"


@dataclass(frozen=True)
class Named(Answer):
    """The name of a geometric object."""

    name: Name = field(default_factory=lambda: Name("", ()))
    label = "name"


@dataclass(frozen=True)
class Assignment(Answer):
    """A name and its value: x = 5, AB = 12 cm, f(x) = x^2, A(2, 3). `left` is None for a point with its coordinates."""

    name: str = ""
    value: Answer = field(default_factory=lambda: Answer(""))
    left: Expression | None = None
    label = "equation"


@dataclass(frozen=True)
class Equation(Answer):
    """left = right, where the left side is no single name."""

    left: Expression = None  # type: ignore[assignment]
    right: Expression = None  # type: ignore[assignment]
    label = "equation"


@dataclass(frozen=True)
class Chain(Answer):
    """Several forms of one value: 3\\sqrt{3} \\approx 5.2."""

    values: tuple[Answer, ...] = ()
    label = "chain of values"


@dataclass(frozen=True)
class Inequality(Answer):
    """An inequality that is not solved for one variable: left < right, or <= if `closed`."""

    left: Expression = None  # type: ignore[assignment]
    right: Expression = None  # type: ignore[assignment]
    closed: bool = False
    label = "inequality"


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`; a closed end belongs to it."""

    low: Expression
    high: Expression
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True)
class Intervals(Answer):
    """A union of intervals, of a variable if it is named."""

    parts: tuple[Interval, ...] = ()
    variable: str | None = None
    label = "interval"


@dataclass(frozen=True)
class Items(Answer):
    """Several answers in brackets: "(" a tuple, "[", "{" a set, "" a list without brackets."""

    brackets: str = ""
    items: tuple[Answer, ...] = ()

    @property
    def label(self) -> str:  # type: ignore[override]
        return {"(": "tuple", "{": "set"}.get(self.brackets, "list")


@dataclass(frozen=True)
class Matrix(Answer):
    """A matrix, or the determinant of one."""

    rows: tuple[tuple[Answer, ...], ...] = ()
    determinant: bool = False
    label = "matrix"


@dataclass(frozen=True)
class Ratio(Answer):
    """A ratio of two or more parts."""

    parts: tuple[Expression, ...] = ()
    label = "ratio"


@dataclass(frozen=True)
class Based(Answer):
    """Digits in a base."""

    digits: str = ""
    base: int = 10
    label = "number in a base"


@dataclass(frozen=True)
class Clock(Answer):
    """A time of day. `half` is am, pm or empty; `ratio` is its reading as a ratio, if it has one."""

    seconds: int = 0
    half: str = ""
    ratio: Ratio | None = None
    label = "time"


@dataclass(frozen=True)
class Choice(Answer):
    """The letter of a choice."""

    letter: str = ""
    label = "choice"


@dataclass(frozen=True)
class Words(Answer):
    """A word or a sentence."""

    label = "text"


@dataclass(frozen=True)
class Statement(Answer):
    """A relation other than equality: AB \\parallel CD. `symmetric` if the sides may be swapped."""

    relation: str = ""
    left: Answer = field(default_factory=lambda: Answer(""))
    right: Answer = field(default_factory=lambda: Answer(""))
    symmetric: bool = False
    label = "statement"
