"""The parser of numbers, compared with Python's arithmetic."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.answers.values import NumberTooLargeError, UnreadableNumberError, value


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
        "5!",
        "1e5",
        "3,4",
        "1/0",
        r"\sqrt{-1}",
        r"\sqrt",
        r"\arcsin 2",
        "|3|",
        "²",
        "٣",
        "((((" * 400,
        "9^{" * 600,
        "(" * 300 + "1" + ")" * 300,
        r"\sin" * 400,
    ],
)
def test_a_text_that_is_not_a_number_is_an_error(text: str) -> None:
    with pytest.raises(UnreadableNumberError):
        value(text)


@pytest.mark.parametrize(
    "text", ["9^{9^{9^9}}", "9^99999999", "2^{10000}", "9^{999.5}", "(9^{900})^{900}", "2^(-9999999)"]
)
def test_a_number_out_of_range_is_an_error(text: str) -> None:
    with pytest.raises(NumberTooLargeError):
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
@given(st.text(alphabet="0123456789+-*/^(){}[]\\ .°sqrtfacpin", max_size=60))
def test_random_text_is_parsed_or_an_error(text: str) -> None:
    with contextlib.suppress(UnreadableNumberError):
        assert math.isfinite(float(value(text)))
