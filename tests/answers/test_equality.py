"""Equality of expressions, compared with sympy's, and of numbers that are extremely close."""

from __future__ import annotations

import random

import pytest

from echorl_vl.answers.equality import Options, same_equation, same_function
from echorl_vl.answers.expressions import parse_expression
from echorl_vl.answers.grading import grade
from echorl_vl.answers.tokens import tokenize


def tree(text):
    return parse_expression(tokenize(text))


def random_polynomial(rng: random.Random, depth: int = 3) -> str:
    """A polynomial in x and y as text that both parsers read."""
    if depth == 0 or rng.random() < 0.3:
        return rng.choice(["x", "y", str(rng.randrange(1, 9))])
    left, right = random_polynomial(rng, depth - 1), random_polynomial(rng, depth - 1)
    return rng.choice([f"({left}+{right})", f"({left}-{right})", f"({left})*({right})", f"({left})^2"])


def test_polynomials_are_equal_where_sympy_says_so():
    import sympy

    rng = random.Random(0)
    seen = set()
    for _ in range(120):
        one = random_polynomial(rng)
        expanded = str(sympy.expand(sympy.sympify(one.replace("^", "**")))).replace("**", "^")
        other = expanded if rng.random() < 0.5 else f"{expanded} + {rng.choice(['x', '1', 'y^2'])}"
        equal = sympy.expand(sympy.sympify(f"({one}) - ({other})".replace("^", "**"))) == 0
        trees = tree(one), tree(other)
        if sympy.sympify(one.replace("^", "**")).free_symbols and sympy.sympify(other.replace("^", "**")).free_symbols:
            assert same_function(*trees, Options()) is bool(equal), (one, other)
            seen.add(bool(equal))
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (r"\sin^2 x + \cos^2 x + y", "1 + y", True),
        (r"\sin 2x", r"2 \sin x \cos x", True),
        (r"\ln(x^2)", r"2 \ln x", False),  # not where x is negative
        (r"\sqrt{x^2}", "x", False),
        (r"\sqrt{x^2}", "|x|", True),
        (r"\sqrt{1/n}", r"\frac{1}{\sqrt{n}}", True),
        ("(-1)^{n+1}", "(-1)^{n-1}", True),
        ("(-1)^n", "(-1)^{n+1}", False),
        (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}", True),
        (r"\sum_{k=1}^{n} k^3", r"\frac{n(n+1)}{2}", False),
        (r"\binom{n}{2}", r"\frac{n(n-1)}{2}", True),
        ("(n+1)!", "(n+1) n!", True),
        ("f(x+1)", "f(1+x)", True),
        ("f(x)", "f(2x)", False),
        (r"\log x^3 y", r"\ln x^3 y", False),  # log without a base may have another
        (r"\frac{x}{10^9}", r"\frac{2x}{10^9}", False),
        ("x^{2n}", "x^{n+2}", False),
        (r"\overrightarrow{AB} + \overrightarrow{BC}", r"\overrightarrow{AC}", True),
        (r"\vec a \times \vec b", r"\vec b \times \vec a", False),
        ("0x", "0y", False),  # says nothing
    ],
)
def test_functions_with_variables(one, other, equal):
    assert same_function(tree(one), tree(other), Options()) is equal


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("2x+3y+7=0", "4x+6y=-14", True),
        ("y=2x+1", "x=(y-1)/2", True),
        ("x^2+y^2=4", "x^2+y^2=9", False),
        ("x^2+y^2=4", "2x^2+2y^2=4", False),
    ],
)
def test_equations(one, other, equal):
    sides = [tuple(tree(side) for side in text.split("=")) for text in (one, other)]
    assert same_equation(*sides, Options()) is equal


CLOSE = [
    (r"\frac{1}{20!}", r"\frac{1}{19!}"),
    (r"1-\frac{1}{2020!}", r"1-\frac{1}{2021!}"),
    (r"\sqrt{10^{12}+1}", "1000000"),
    (r"\pi + 10^{-100}", r"\pi"),
    ("e^{-1000}", "0"),
    ("1 - e^{-1000}", "1"),
    (r"e^{\pi\sqrt{163}}", "262537412640768744"),
    ("10^{10^{10}}", "10^{10^{11}}"),
    (r"\sqrt{2^{3001}}", r"\sqrt{2^{3003}}"),
    (r"\frac{355}{113}", r"\pi"),
]
EQUAL = [
    (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}"),
    (r"\sqrt[3]{20+14\sqrt{2}}+\sqrt[3]{20-14\sqrt{2}}", "4"),
    (r"\sin(\pi)", "0"),
    (r"2\cdot 2^{5000}", "2^{5001}"),
    (r"\cos 36^\circ", r"\frac{1+\sqrt{5}}{4}"),
    ("i^2", "-1"),
    ("(1+i)^2", "2i"),
]


@pytest.mark.parametrize(("one", "other"), CLOSE)
def test_close_numbers_are_not_equal(one, other):
    assert not grade(one, other) and not grade(other, one)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_numbers_in_other_forms(one, other):
    assert grade(one, other) and grade(other, one)
