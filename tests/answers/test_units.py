"""The table of units, compared with pint's, and the words after a number."""

from __future__ import annotations

from fractions import Fraction

import pytest

from echorl_vl.answers.grading import grade
from echorl_vl.answers.tokens import tokenize
from echorl_vl.answers.units import UNITS, read_suffix

OURS_ALONE = {  # counted in months or dollars, or other units in pint: a tonne there is not our "t", a ton is American
    *("month", "months", "year", "years", "yr", "yrs", "decade", "decades", "century", "centuries"),
    *("dollar", "dollars", "USD", "cent", "cents", "euro", "euros", "EUR", "yen", "rupee", "rupees"),
    *(
        "acre",
        "acres",
        "ton",
        "tons",
        "t",
        "tonne",
        "tonnes",
        "AU",
        "ly",
        "C",
        "F",
        "cc",
        "amp",
        "gramme",
        "grammes",
        "ampere",
    ),
    *("mpg", "kph", "kmh", "kmph", "fps", "rpm", "knot", "knots", "K", "h", "turns", "turn", "rev", "revolution"),
    *(
        "revolutions",
        "wk",
        "wks",
        "mins",
        "secs",
        "yds",
        "lbs",
        "cup",
        "cups",
        "quart",
        "quarts",
        "pint",
        "pints",
        "pt",
    ),
}


def test_factors_and_dimensions_agree_with_pint():
    pint = pytest.importorskip("pint")
    registry = pint.UnitRegistry(on_redefinition="ignore")
    compared = 0
    for name, (dimension, factor) in UNITS.items():
        if name in OURS_ALONE or name.rstrip("s").endswith(("gramme", "amp")):
            continue
        try:
            theirs = registry.Quantity(1, name).to_base_units()
        except Exception:
            continue
        powers = {
            key.strip("[]"): power for key, power in theirs.dimensionality.items() if key.strip("[]") != "printing_unit"
        }
        ours = dict(dimension)
        if set(ours) <= {"length", "mass", "time", "current", "substance"}:
            assert ours == powers, name
            grams = 1000 ** powers.get("mass", 0)
            assert float(factor) == pytest.approx(theirs.magnitude * grams, rel=1e-9), name
            compared += 1
    assert compared > 120


@pytest.mark.parametrize(
    ("text", "dimension", "factor"),
    [
        ("cm", {"length": 1}, "0.01"),
        (r"\text{ cm}^2", {"length": 2}, "0.0001"),
        ("square feet", {"length": 2}, "0.09290304"),
        ("cubic metres", {"length": 3}, "1"),
        ("cm squared", {"length": 2}, "0.0001"),
        ("km/h", {"length": 1, "time": -1}, "5/18"),
        ("km per hour", {"length": 1, "time": -1}, "5/18"),
        (r"\text{m s}^{-1}", {"length": 1, "time": -1}, "1"),
        (r"\frac{\text{km}}{\text{h}}", {"length": 1, "time": -1}, "5/18"),
        (r"\text{N} \cdot \text{m}", {"length": 2, "mass": 1, "time": -2}, "1000"),
        (r"\text{J/(kg K)}", {"kelvin": -1, "length": 2, "time": -2}, "1"),
        (r"k\Omega", {"resistance": 1}, "1000"),
        (r"\mu m", {"length": 1}, "1/1000000"),
        ("units", {"unit": 1}, "1"),
    ],
)
def test_a_unit_is_a_dimension_and_a_factor(text, dimension, factor):
    suffix = read_suffix(tokenize(text))
    assert dict(suffix.unit.dimension) == dimension and suffix.unit.factor == Fraction(factor)


@pytest.mark.parametrize("text", ["x", "xyz", "+ 2", "cm + m", "7", "cm 3 m", ")", "sin"])
def test_other_tokens_are_no_suffix(text):
    suffix = read_suffix(tokenize(text))
    assert suffix is None or suffix.words or suffix.nouns


CONVERTED = [
    ("300 cm", "3 m"),
    ("90 minutes", "1.5 hours"),
    ("36 km/h", r"10 \text{ m/s}"),
    (r"2.5 \text{ kg}", "2500 grams"),
    ("1 litre", r"1000 \text{ cm}^3"),
    ("5 ft 6 in", "5.5 feet"),
    (r"\$7", "700 cents"),
    (r"25^\circ C", r"77^\circ F"),
    (r"30^\circ 30'", r"30.5^\circ"),
    (r"\frac{\pi}{6}", r"30^\circ"),
    ("1.5 million", "1500000"),
    ("2 dozen", "24"),
]
OTHERS = [
    ("3 kg", "3 g"),
    ("5 hours", "5 minutes"),
    (r"7\%", r"\$7"),
    ("7 cm", "7 hours"),
    ("60 km per hour", "60 km per minute"),
    ("5 km east", "5 km west"),
    (r"20\% \text{ increase}", r"20\% \text{ decrease}"),
    ("5 a.m.", "5 p.m."),
    ("5 million", "5"),
    ("5'", "5"),
    ('20"', "20'"),
    ("6", "6m"),
    ("5K", "5"),
    ("7 students", "7 teachers"),
    (r"0.5\%", "0.5"),
    (r"50\%", r"50^\circ"),
    ("2 rad", r"2^\circ"),
]


@pytest.mark.parametrize(("answer", "truth"), CONVERTED)
def test_compatible_units_are_converted(answer, truth):
    assert grade(answer, truth) and grade(truth, answer)


@pytest.mark.parametrize(("answer", "truth"), OTHERS)
def test_other_units_and_opposite_words_are_incorrect(answer, truth):
    assert not grade(answer, truth)


def test_a_unit_on_one_side_is_accepted():
    for answer in ("5 cm", "5 apples", r"5 \text{ m/s}", r"5^\circ", r"\$5", "5 units", "about 5", "5th", "5 m", "5 s"):
        assert grade(answer, "5"), answer
    for truth in ("5 cm", "5 apples", r"5 \text{ s}"):
        assert grade("5", truth), truth
