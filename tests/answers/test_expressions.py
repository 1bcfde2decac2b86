"""The parser of expressions and their values, compared with Python's arithmetic."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.answers.evaluate import NoValueError, OutOfRangeError, exact, numeric
from echorl_vl.answers.expressions import parse_expression
from echorl_vl.answers.reader import NotAnExpressionError
from echorl_vl.answers.tokens import UnbalancedError, tokenize

ERRORS = (NoValueError, NotAnExpressionError, UnbalancedError)


def value(text: str, digits: int = 30) -> Fraction | float:
    """The exact value of a text, or a float."""
    tree = parse_expression(tokenize(text))
    found = exact(tree)
    if found is not None:
        return found
    real = numeric(tree, digits)
    if getattr(real, "imag", 0):
        raise NoValueError("complex")
    return float(real.real)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("-2.5", -2.5),
        (".5", 0.5),
        (r"\frac{7}{2}", 3.5),
        (r"\frac12", 0.5),
        ("7/2", 3.5),
        (r"2\frac{1}{3}", 7 / 3),
        ("2 1/3", 7 / 3),
        (r"3\sqrt{3}", 3 * math.sqrt(3)),
        (r"\sqrt[3]{27}", 3),
        (r"\sqrt2", math.sqrt(2)),
        ("sqrt(12)/2", math.sqrt(12) / 2),
        (r"10 \pi", 10 * math.pi),
        ("2pi/3", 2 * math.pi / 3),
        (r"\frac{2\pi}{3}", 2 * math.pi / 3),
        ("2^10", 1024),
        ("2^{-1}", 0.5),
        ("-3^2", -9),
        (r"2^{\frac{3}{4}}", 2**0.75),
        (r"4^{1/2}", 2),
        (r"2 \cdot 3 \times 4 \div 6", 4),
        ("2*-3", -6),
        ("(1+2)(3+4)", 21),
        (r"\sin 30^\circ", 0.5),
        (r"\sin(30^{\circ})", 0.5),
        (r"\cos{(\frac{\pi}{3})}", 0.5),
        (r"\sin^{2}{(\frac{\pi}{4})}", 0.5),
        (r"\sin(\frac{\pi}{4})^2", 0.5),
        (r"8 \tan 45^\circ \cos 60^\circ", 4),
        (r"\frac{180 \operatorname{acos}{(\frac{12}{13} )}}{\pi}", math.degrees(math.acos(12 / 13))),
        (r"\cos^{-1}(\frac{1}{2})", math.pi / 3),
        (r"- \frac{9}{2} + \frac{\sqrt{337}}{2}", (math.sqrt(337) - 9) / 2),
        (r"\sqrt{\frac{9}{2} + \frac{\sqrt{337}}{2}}", math.sqrt(4.5 + math.sqrt(337) / 2)),
        ("5!", 120),
        ("7!!", 105),
        ("1.5e3", 1500),
        ("|3-5|", 2),
        (r"\binom{5}{2}", 10),
        (r"{5 \choose 2}", 10),
        (r"{1 \over 4}", 0.25),
        (r"\lfloor -3.2 \rfloor", -4),
        (r"\lceil 3.2 \rceil", 4),
        (r"\log_2 8", 3),
        (r"\ln e^2", 2),
        (r"\lg 1000", 3),
        (r"\gcd(12, 18)", 6),
        (r"\max(2, 7, 5)", 7),
        (r"\sqrt[3]{-27}", -3),
        (r"\sum_{k=1}^{10} k^2", 385),
        (r"\prod_{i=1}^{5} i", 120),
        (r"0.1\overline{6}", 1 / 6),
        (r"0.\dot{1}4285\dot{7}", 1 / 7),
        ("0.272727...", 3 / 11),
        ("½", 0.5),
        ("2½", 2.5),
        ("１２．５", 12.5),
        ("10²", 100),
        ("٣", 3),
        ("−3", -3),
        (r"\frac{3}{8}\%", 3 / 8),
    ],
)
def test_a_number_is_parsed(text: str, expected: float) -> None:
    assert float(value(text)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "3 4",
        "3{4}",
        r"\sqrt12",
        "2^3^4",
        "1.2.3",
        "(1",
        "1)",
        "{1",
        r"\frac{1}",
        "1+",
        "3,4",
        "1/0",
        r"\sqrt{-1}",
        r"\sqrt",
        r"\arcsin 2",
        "|3",
        "²",
        "0^0",
        r"\log 0",
        r"\begin{x}",
        "5 cm",
        r"\text{five}",
        "((((" * 400,
        "9^{" * 600,
        "(" * 300 + "1" + ")" * 300,
        r"\sin" * 400,
    ],
)
def test_a_text_that_is_not_a_number_is_an_error(text: str) -> None:
    with pytest.raises(ERRORS):
        value(text)


@pytest.mark.parametrize(
    "text",
    [
        *("9^{9^{9^9}}", "9^99999999", "2^{200000}", "9^{99999.5}", "(9^{9000})^{9000}", "2^(-9999999)", "(10^9)!"),
        *("1" * 5000, "0." + "1" * 5000, r"\frac{1}{" + "1" * 5000 + "}", r"\sum_{k=1}^{10^9} k", "e^{e^{e^{10}}}"),
    ],
)
def test_a_number_out_of_range_is_an_error(text: str) -> None:
    with pytest.raises(OutOfRangeError):
        value(text)


def test_rationals_are_exact() -> None:
    assert value(r"\frac{1}{3}+\frac{1}{6}") == Fraction(1, 2)
    assert value(r"\sqrt{\frac{900}{4}}") == Fraction(15)
    assert value("100000000000000000000001") != value("100000000000000000000000")


@st.composite
def _expressions(draw: st.DrawFn, depth: int = 3) -> tuple[str, Fraction]:
    """A LaTeX text and its value."""
    if depth == 0 or draw(st.booleans()):
        number = draw(st.integers(0, 99))
        return str(number), Fraction(number)
    (left, a), (right, b) = draw(_expressions(depth - 1)), draw(_expressions(depth - 1))
    kind = draw(st.sampled_from(["+", "-", "*", "frac"]))
    if kind == "frac" and b != 0:
        return rf"\frac{{{left}}}{{{right}}}", a / b
    if kind == "+":
        return f"({left} + {right})", a + b
    if kind == "-":
        return f"({left} - {right})", a - b
    return rf"({left}) \cdot ({right})", a * b


@settings(max_examples=150, deadline=None)
@given(_expressions())
def test_values_agree_with_fractions(expression: tuple[str, Fraction]) -> None:
    text, expected = expression
    assert value(text) == expected


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789+-*/^(){}[]\\ .°sqrtfacpin!|%", max_size=60))
def test_random_text_is_parsed_or_an_error(text: str) -> None:
    with contextlib.suppress(*ERRORS, OverflowError):
        assert math.isfinite(float(value(text)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ab", "a b"),
        ("AB", "BA"),
        (r"\angle ABC", r"\angle CBA"),
        (r"\overline{AB}", "AB"),
        ("x^{\\prime}", "x'"),
        ("f''(x)", "f^{(2)}(x)"),
        (r"\frac{dy}{dx}", "y'"),
        (r"x_{\text{max}}", r"x_{\max}"),
        (r"\overset{\frown}{AB}", r"\widehat{BA}"),
    ],
)
def test_spellings_of_one_expression(one: str, other: str) -> None:
    assert parse_expression(tokenize(one)) == parse_expression(tokenize(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("AB", "A B"),
        ("x'", "x"),
        ("x_1", "x_2"),
        (r"\hat{x}", "x"),
        (r"\angle ABC", r"\angle ACB"),
        (r"\overrightarrow{AB}", r"\overrightarrow{BA}"),
        (r"\frac{dy}{dx}", r"\frac{y}{x}"),
        ("f(x)", "fx"),
        ("x^{(3)}", "x^3"),
    ],
)
def test_nothing_is_dropped(one: str, other: str) -> None:
    assert parse_expression(tokenize(one)) != parse_expression(tokenize(other))


@settings(max_examples=150, deadline=None)
@given(_expressions(), st.integers(2, 60))
def test_real_values_have_the_digits_that_are_asked(expression: tuple[str, Fraction], digits: int) -> None:
    text, expected = expression
    found = numeric(parse_expression(tokenize(rf"\sqrt{{({text})^2}}")), digits)
    with mpmath.workdps(100):
        exactly = abs(mpmath.mpf(expected.numerator) / expected.denominator)
        assert abs(found - exactly) <= exactly * mpmath.mpf(10) ** -digits
