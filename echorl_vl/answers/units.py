"""Units and the words after a number: what `5 km per hour`, `3 apples` and `20 m to the left` measure and say.

A unit is a dimension and a factor, so 300 cm is 3 m and 7 km/h is not 7 mph. A noun that is counted (apples) is a
dimension of its own. Every other word is part of the answer: 5 m up is not 5 m down, and 5 million is not 5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from echorl_vl.answers.tokens import Token
from echorl_vl.answers.words import FACTORS, FILLERS, SYNONYMS, is_noun

Dimension = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Unit:
    """A unit of measurement.

    Attributes:
        dimension: base quantities with their powers, sorted.
        factor: its size in base units (metre, kilogram, second, ...).
        name: as written.
        certain: False for a single letter that is not marked as text, which may be a variable: 6m, 5 s.
        optional: whether the unit may be left out on the other side; 5' may be feet or minutes, 5K may be 5,000.
    """

    dimension: Dimension
    factor: Fraction
    name: str
    certain: bool = True
    optional: bool = True


@dataclass(frozen=True)
class Suffix:
    """What follows a number: a factor (million), a unit, counted nouns that may be left out, and words that may not."""

    unit: Unit | None = None
    nouns: tuple[str, ...] = ()
    words: tuple[str, ...] = field(default=())
    factor: int = 1


_PREFIXES = {
    "": ("", Fraction(1)),
    "k": ("kilo", Fraction(1000)),
    "M": ("mega", Fraction(10**6)),
    "G": ("giga", Fraction(10**9)),
    "d": ("deci", Fraction(1, 10)),
    "c": ("centi", Fraction(1, 100)),
    "m": ("milli", Fraction(1, 1000)),
    "u": ("micro", Fraction(1, 10**6)),
    "n": ("nano", Fraction(1, 10**9)),
}
_DERIVED: dict[str, tuple[Dimension, Fraction]] = {
    "volume": ((("length", 3),), Fraction(1)),
    "force": ((("length", 1), ("mass", 1), ("time", -2)), Fraction(1000)),
    "energy": ((("length", 2), ("mass", 1), ("time", -2)), Fraction(1000)),
    "power": ((("length", 2), ("mass", 1), ("time", -3)), Fraction(1000)),
    "pressure": ((("length", -1), ("mass", 1), ("time", -2)), Fraction(1000)),
    "charge": ((("current", 1), ("time", 1)), Fraction(1)),
}


def _table() -> dict[str, tuple[Dimension, Fraction]]:
    found: dict[str, tuple[Dimension, Fraction]] = {}

    def add(names: str, dimension: str, factor: str | int | Fraction = 1, power: int = 1) -> None:
        for name in names.split(","):
            found[name] = (((dimension, power),), Fraction(factor))

    def scaled(symbols: str, words: str, dimension: str, prefixes: str, base: str | Fraction = "1") -> None:
        for prefix in ("", *prefixes.split()):
            size = Fraction(base) * _PREFIXES[prefix][1]
            add(",".join(prefix + symbol for symbol in symbols.split(",")), dimension, size)
            for word in words.split(","):
                add(f"{_PREFIXES[prefix][0]}{word}", dimension, size)
                add(f"{_PREFIXES[prefix][0]}{word}s", dimension, size)

    scaled("m", "meter,metre", "length", "k d c m n u")
    scaled("g", "gram,gramme", "mass", "k m u")
    scaled("s", "second", "time", "m n u")
    scaled("L,l", "liter,litre", "volume", "m d c", Fraction(1, 1000))
    scaled("N", "newton", "force", "k m")
    scaled("J", "joule", "energy", "k M m")
    scaled("W", "watt", "power", "k M m")
    scaled("V", "volt", "voltage", "k m")
    scaled("A", "ampere,amp", "current", "m u")
    scaled("Hz", "hertz", "frequency", "k M G")
    scaled("Pa", "pascal", "pressure", "k M")
    scaled("C", "coulomb", "charge", "m u n")
    scaled("T", "tesla", "magnetism", "m")
    scaled("F", "farad", "capacitance", "m u n")
    scaled("mol", "mole", "substance", "m k")
    scaled("eV", "electronvolt", "energy", "k M G", "1.602176634e-19")
    add("ohm,ohms,Ω", "resistance")
    add("in,inch,inches", "length", "0.0254")
    add("ft,foot,feet", "length", "0.3048")
    add("yd,yds,yard,yards", "length", "0.9144")
    add("mi,mile,miles", "length", "1609.344")
    add("AU", "length", 149597870700)
    add("ly", "length", 9460730472580800)
    add("angstrom,angstroms", "length", "1e-10")
    add("min,mins,minute,minutes", "time", 60)
    add("sec,secs", "time")
    add("h,hr,hrs,hour,hours", "time", 3600)
    add("d,day,days", "time", 86400)
    add("week,weeks,wk,wks", "time", 604800)
    add("month,months", "month")
    add("year,years,yr,yrs", "month", 12)
    add("decade,decades", "month", 120)
    add("century,centuries", "month", 1200)
    add("lb,lbs,pound,pounds", "mass", "453.59237")
    add("oz,ounce,ounces", "mass", "28.349523125")
    add("t,ton,tons,tonne,tonnes", "mass", 1_000_000)
    add("gal,gallon,gallons", "volume", "0.003785411784")
    add("quart,quarts,qt", "volume", "0.000946352946")
    add("pint,pints,pt", "volume", "0.000473176473")
    add("cup,cups", "volume", "0.0002365882365")
    add("cal,calorie,calories", "energy", "4.184")
    add("kcal", "energy", 4184)
    add("kWh", "energy", 3_600_000)
    add("hp,horsepower", "power", "745.69987158227022")
    add("atm", "pressure", 101325)
    add("bar", "pressure", 100_000)
    add("K,kelvin,kelvins", "kelvin")
    add("rad,radian,radians", "angle")
    add("rev,revolution,revolutions,turn,turns", "turn")
    add("dollar,dollars,USD", "dollar")
    add("cent,cents", "dollar", "0.01")
    add("euro,euros,EUR", "euro")
    add("yen", "yen")
    add("rupee,rupees", "rupee")
    add("bit,bits", "information")
    add("byte,bytes", "information", 8)
    for names, power, factor in (
        ("ha,hectare,hectares", 2, "10000"),
        ("acre,acres", 2, "4046.8564224"),
        ("cc", 3, "0.000001"),
    ):
        add(names, "length", factor, power)
    for names, factor in (("mph", "0.44704"), ("kph,kmh,kmph", "5/18"), ("knot,knots", "463/900"), ("fps", "0.3048")):
        for name in names.split(","):
            found[name] = ((("length", 1), ("time", -1)), Fraction(factor))
    found["mpg"] = ((("length", -2),), Fraction("1609.344") / Fraction("0.003785411784"))
    found["rpm"] = ((("time", -1), ("turn", 1)), Fraction(1, 60))
    return {name: _in_base_quantities(*entry) for name, entry in found.items()}


def _in_base_quantities(dimension: Dimension, factor: Fraction) -> tuple[Dimension, Fraction]:
    """So that N m is J, kg m/s^2 is N, and a litre a cubic decimetre."""
    if len(dimension) != 1 or dimension[0][0] not in _DERIVED:
        return dimension, factor
    base, size = _DERIVED[dimension[0][0]]
    return base, factor * size


UNITS = _table()
_NO_UNIT = frozenset(["unit", "units"])
_POWER_WORDS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_ORDINALS = frozenset(["th", "st", "nd", "rd"])
_SQUARE = re.compile("[23]")
_OPTIONAL_LETTERS = frozenset("gshLNJWVA")


@lru_cache(maxsize=4096)
def read_suffix(tokens: tuple[Token, ...]) -> Suffix | None:
    """The suffix that all tokens after a number form; None if it is none."""
    factor = FACTORS.get(tokens[0].text.lower(), 1)
    if factor > 1:
        tokens = tokens[1:]
    reader = _Reader(tokens)
    unit = reader.unit()
    nouns: list[str] = []
    words: list[str] = []
    for token in tokens[reader.at :]:
        word = token.text.lower() if len(token.text) > 3 or token.text.lower() in _ORDINALS else token.text
        if token.kind != "word" or len(word) == 1:
            return None
        if word in FILLERS:
            continue
        word = SYNONYMS.get(word, word)
        (nouns if is_noun(word) or word in _ORDINALS else words).append(word)
    if unit is None and not nouns and not words and factor == 1:
        return None
    return Suffix(unit, tuple(nouns), tuple(words), factor)


class _Reader:
    """Reads a product and quotient of units from the front of a list of tokens."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, ahead: int = 0) -> str:
        """The text of a token ahead, "" after the last."""
        index = self.at + ahead
        return self.tokens[index].text if index < len(self.tokens) else ""

    def unit(self) -> Unit | None:
        """The longest unit from here; None, and nothing is taken, if there is none."""
        found: list[tuple[Unit, int]] = []
        bracket = False  # inside the one after a slash: 5 J/(kg K)
        while True:
            start, direction = self.at, -1 if bracket else 1
            if found and self.peek() in ("/", "per"):
                direction = -1
                bracket = self.peek(1) == "("
                self.at += 1 + bracket
            elif found and (self.peek() in (r"\cdot", "*", r"\times") or self.is_hyphen()):
                self.at += 1
            if not found and self.peek() == r"\frac":
                return self.fraction()
            one = self.single()
            if one is None:
                self.at = start
                break
            found.append((one, direction))
            if bracket and self.peek() == ")":
                self.at += 1
                bracket = False
        return _combined(found) if found else None

    def fraction(self) -> Unit | None:
        """\\frac{km}{h}."""
        texts = [token.text for token in self.tokens]
        middle = texts.index("}") if "}" in texts else 0
        if texts[self.at + 1 : self.at + 2] != ["{"] or texts[middle + 1 : middle + 2] != ["{"] or texts[-1] != "}":
            return None
        above, below = (
            _Reader(part).whole() for part in (self.tokens[self.at + 2 : middle], self.tokens[middle + 2 : -1])
        )
        if above is None or below is None:
            return None
        self.at = len(self.tokens)
        return quotient(above, below)

    def whole(self) -> Unit | None:
        """The unit that all tokens form."""
        unit = self.unit()
        return unit if self.at == len(self.tokens) else None

    def is_hyphen(self) -> bool:
        """Whether a hyphen joins two units, as in kg-m; with white space it is a minus."""
        spaced = any(token.spaced for token in self.tokens[self.at : self.at + 2])
        return self.peek() == "-" and not spaced

    def single(self) -> Unit | None:
        """One unit with its power: cm^2, square cm, cubic feet, m s^{-1}."""
        start = self.at
        power = _POWER_WORDS.get(self.peek().lower(), 1)
        if power > 1:
            self.at += 1 + (self.peek(1) == ".")
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        one = token and (self.sign() or self.word(token))
        if one is None:
            self.at = start
            return None
        power *= self.exponent()
        if self.peek().lower() in ("squared", "cubed"):
            power *= _POWER_WORDS[self.peek().lower()]
            self.at += 1
        if self.peek() == ".":
            self.at += 1
        dimension = tuple((quantity, each * power) for quantity, each in one.dimension)
        return Unit(dimension, one.factor**power, one.name, one.certain, one.optional)

    def word(self, token: Token) -> Unit | None:
        """A unit of the table, by its symbol or its name."""
        word = token.text
        if token.kind != "word" or (word == "in" and self.peek(1).isalpha()):
            return None
        if word.lower() in _NO_UNIT:
            self.at += 1
            return Unit((("unit", 1),), Fraction(1), word)
        if word in _PREFIXES and self.peek(1) == r"\Omega":
            self.at += 2
            return Unit(SIGNS[r"\Omega"].dimension, _PREFIXES[word][1], f"{word}Ω")
        entry = UNITS.get(word) or (UNITS.get(word.lower()) if len(word) > 2 else None)
        if entry is None:
            return None
        self.at += 1
        certain = len(word) > 1 or token.marked
        return Unit(*entry, word, certain, certain or word == "m" or (token.spaced and word in _OPTIONAL_LETTERS))

    def sign(self) -> Unit | None:
        """A sign, such as that of ohm, of inches or of a currency, or \\mu before a unit."""
        text, after = self.peek(), self.peek(1)
        if text in SIGNS:
            self.at += 1
            return SIGNS[text]
        if text == r"\mu" and after in UNITS:
            self.at += 2
            dimension, factor = UNITS[after]
            return Unit(dimension, factor / 10**6, f"micro {after}")
        return None

    def exponent(self) -> int:
        """The power after a unit: ^2, ^{-1}, or a plain 2 (cm2); 1 if there is none."""
        braces = self.peek() == "^" and self.peek(1) in ("{", "(")
        begin = self.at + (1 + braces if self.peek() == "^" else 0)
        if begin == self.at and not (_SQUARE.fullmatch(self.peek()) and not self.tokens[self.at].spaced):
            return 1
        negative = begin < len(self.tokens) and self.tokens[begin].text == "-"
        digits = self.tokens[begin + negative].text if begin + negative < len(self.tokens) else ""
        if not digits.isdecimal() or len(digits) > 1:
            return 1
        self.at = begin + negative + 1 + braces
        return -int(digits) if negative else int(digits)


def _combined(found: Sequence[tuple[Unit, int]]) -> Unit:
    """The product of one or more units, each with its direction: 1 above the bar, -1 below."""
    powers: dict[str, int] = {}
    factor = Fraction(1)
    for one, direction in found:
        factor *= one.factor**direction
        for quantity, power in one.dimension:
            powers[quantity] = powers.get(quantity, 0) + power * direction
    dimension = tuple(sorted((quantity, power) for quantity, power in powers.items() if power))
    name = " ".join(one.name if direction > 0 else f"/{one.name}" for one, direction in found).replace(" /", "/")
    several = len(found) > 1
    certain, optional = (several or all(getattr(one, field) for one, _ in found) for field in ("certain", "optional"))
    return Unit(dimension, factor, name, certain, optional)


def quotient(above: Unit, below: Unit) -> Unit:
    """A unit over another: dollars per pound."""
    return _combined([(above, 1), (below, -1)])


def _sign(name: str, quantity: str, factor: str | Fraction = "1", optional: bool = True) -> Unit:
    return Unit(((quantity, 1),), Fraction(factor), name, optional=optional)


SIGNS = {
    r"\Omega": _sign("Ω", "resistance"),
    '"': _sign('"', "length", "0.0254"),
    "'": _sign("'", "length", "0.3048", optional=False),
    "$": _sign("$", "dollar"),
    r"\$": _sign("$", "dollar"),
    r"\cent": _sign("¢", "dollar", "0.01"),
    r"\euro": _sign("€", "euro"),
    r"\pounds": _sign("£", "pound sterling"),
    r"\yen": _sign("¥", "yen"),
}
"""Signs before or after a number."""

TEMPERATURES = {"C": _sign("°C", "celsius"), "F": _sign("°F", "fahrenheit")}
SUB_DEGREES = {"'": Fraction(1, 60), '"': Fraction(1, 3600), "''": Fraction(1, 3600)}
