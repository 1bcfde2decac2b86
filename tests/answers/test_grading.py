"""Pairs of answer and ground truth, correct and incorrect, and the answers of real Geometry3K problems."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from echorl_vl.answers.equality import Options
from echorl_vl.answers.evaluate import exact, numeric
from echorl_vl.answers.expressions import parse_expression
from echorl_vl.answers.grading import decide, explain, grade
from echorl_vl.answers.tokens import tokenize

ANGLE = r"\frac{180 \operatorname{acos}{\left(\frac{12}{13} \right)}}{\pi}"  # 22.6199 degrees

CORRECT = [
    # forms of one number
    ("5", "5"),
    ("5.0", "5"),
    ("$5$", "5"),
    (r"\(5\)", "5"),
    (r"\text{5}", "5"),
    ("{5}", "5"),
    ("5.", "5"),
    ("+5", "5"),
    (r"\frac{10}{2}", "5"),
    ("1,234", "1234"),
    (r"1{,}234", "1234"),
    (r"12\,345", "12345"),
    (r"\sqrt{900}", "30"),
    (r"\dfrac{7}{2}", r"\frac{7}{2}"),
    ("7/2", r"\frac{7}{2}"),
    ("3.5", r"\frac{7}{2}"),
    (r"3\frac{1}{2}", r"\frac{7}{2}"),
    ("3 1/2", r"\frac{7}{2}"),
    (r"-\frac{1}{2}", "-0.5"),
    ("3√3", r"3 \sqrt{3}"),
    (r"3\sqrt3", r"3 \sqrt{3}"),
    (r"\sqrt{27}", r"3 \sqrt{3}"),
    (r"\frac{9}{\sqrt{3}}", r"3 \sqrt{3}"),
    (r"12\pi - 9\sqrt{3}", r"- 9 \sqrt{3} + 12 \pi"),
    ("10π", r"10 \pi"),
    ("10 pi", r"10 \pi"),
    # correctly rounded decimals for exact expressions
    ("5.2", r"3\sqrt{3}"),
    ("5.20", r"3\sqrt{3}"),
    ("5.196", r"3\sqrt{3}"),
    ("31.4", r"10 \pi"),
    ("31.42", r"10 \pi"),
    ("22.6", ANGLE),
    (r"22.6^\circ", ANGLE),
    ("0.38", r"\frac{5}{13}"),
    ("0.33", r"\frac{1}{3}"),
    ("16.2", r"\frac{97}{6}"),
    (r"20\sqrt{2}\sin 38^\circ", r"20 \sqrt{2} \sin{\left(\frac{19 \pi}{90} \right)}"),
    ("17.4", r"20 \sqrt{2} \sin{\left(\frac{19 \pi}{90} \right)}"),
    (r"3\sqrt{3}", "5.2"),
    ("5.196", "5.2"),
    # degrees and units
    (r"45^\circ", "45"),
    (r"45^{\circ}", "45"),
    ("45°", "45"),
    ("45 degrees", "45"),
    (r"45\text{ degrees}", "45"),
    ("45", r"45^\circ"),
    ("12 cm", "12"),
    ("12cm", "12"),
    (r"12\,\text{cm}", "12"),
    (r"12\text{ cm}^2", "12"),
    (r"12\ \mathrm{cm^{2}}", "12"),
    ("12 square units", "12"),
    ("12 sq. ft", "12"),
    ("12 units", "12 cm"),
    ("12 m²", "12"),
    ("12 m", "12 meters"),
    (r"3\sqrt{3}\text{ units}", r"3\sqrt{3}"),
    # names and chains
    ("x = 5", "5"),
    ("x=5", "x = 5"),
    (r"\angle ABC = 45^\circ", "45"),
    (r"m\angle 1 = 45", "45"),
    (r"AB = 12\text{ cm}", "12"),
    (r"\text{Area} = 12", "12"),
    (r"\overline{AB} = 12", "12"),
    (r"\sin A = \frac{5}{13}", r"\frac{5}{13}"),
    (r"x = 3\sqrt{3} \approx 5.2", r"3\sqrt{3}"),
    (r"\approx 5.2", r"3\sqrt{3}"),
    # a whole response
    (r"First 4, \boxed{4}. No: \boxed{5}", "5"),
    # not a single number
    ("Yes", "yes"),
    ("(3, 4.0)", "(3,4)"),
    (r"\left(3, \frac{\pi}{2}\right)", r"(3,\pi/2)"),
]

INCORRECT = [
    ("5", "5.2"),
    ("5", r"3\sqrt{3}"),
    ("5.1", r"3\sqrt{3}"),
    ("5.3", r"3\sqrt{3}"),
    ("5.19", r"3\sqrt{3}"),
    ("1.7", r"\sqrt{3}"),
    ("208", r"120\sqrt{3}"),
    ("0.3", r"\frac{1}{3}"),
    ("12.8", r"\frac{51}{4}"),
    ("12.7", "12.75"),
    ("5.24", "5.3"),
    ("5.04", "5.0"),
    ("5.2", "5"),
    ("4.99", "5"),
    ("5.0001", "5"),
    ("6", "5"),
    ("-5", "5"),
    ("50", "5"),
    ("0.5", "5"),
    ("1 2", "12"),
    ("1{2}", "12"),
    (r"\frac{2}{7}", r"\frac{7}{2}"),
    (r"\sqrt12", r"\sqrt{12}"),
    (r"3+\sqrt{3}", r"3\sqrt{3}"),
    (r"10", r"10 \pi"),
    (r"\pm 5", "5"),
    ("5 or 6", "5"),
    ("5, 6", "5"),
    (r"5 \text{ and } 6", "5"),
    ("2x = 10", "10"),
    ("x > 5", "5"),
    ("x \\geq 5", "5"),
    ("5 = 6", "5"),
    ("6 = 5", "5"),
    (r"6 \approx 5", "5"),
    ("5x", "5"),
    ("x", "5"),
    ("x = 5", "y = 5"),
    ("5 cm", "5 m"),
    ("5 cm", "5 cm^2"),
    ("45 cm", r"45^\circ"),
    (r"57.3^\circ", "1"),
    ("the answer is 5", "5"),
    ("no", "on"),
    ("(4,3)", "(3,4)"),
    ("[3,4]", "(3,4)"),
    ("3,4", "(3,4)"),
    ("", "5"),
    ("cm", "5"),
    (r"\boxed{5", "5"),
    (r"\boxed{}", "5"),
    (r"\boxed{5} \boxed{6}", "5"),
    ("{5", "5"),
    ("5}", "5"),
    ("9^{9^{9^9}}", "5"),
    ("100000000000000000000001", "100000000000000000000000"),
]

# These have variables, so `decide` leaves them to a worker.
CORRECT_WITH_VARIABLES = [
    ("2x+1", "1+2x"),
    ("(x+1)^2", "x^2+2x+1"),
    (r"\frac{x+1}{2}", r"\frac{x}{2} + \frac{1}{2}"),
    ("(2x, 1)", "(x+x, 1)"),
    ("y = 2x", "2x - y = 0"),
]
INCORRECT_WITH_VARIABLES = [
    ("2x+1", "2x+2"),
    (r"x+\frac{1}{2}", r"\frac{x+1}{2}"),  # mathruler accepts it
    ("x^1 2", "x^{12}"),  # mathruler accepts it
    ("R", "r"),
    (r"\frac{x}{2}y", r"\frac{x}{2y}"),
    ("x", "5 + x"),
    ("x = 1", "x + 1"),
    ("lorem ipsum", "2x"),
]


@pytest.mark.parametrize(("answer", "truth"), CORRECT)
def test_a_correct_answer(answer: str, truth: str) -> None:
    assert decide(answer, truth) is True
    assert grade(answer, truth) is True


@pytest.mark.parametrize(("answer", "truth"), INCORRECT)
def test_an_incorrect_answer(answer: str, truth: str) -> None:
    assert grade(answer, truth) is False


@pytest.mark.parametrize(
    ("answer", "truth", "correct"),
    [(*p, True) for p in CORRECT_WITH_VARIABLES] + [(*p, False) for p in INCORRECT_WITH_VARIABLES],
)
def test_an_answer_with_variables(answer: str, truth: str, correct: bool) -> None:
    assert grade(answer, truth) is correct
    assert decide(answer, truth) in (None, correct)


def test_an_answer_with_variables_is_left_to_a_worker() -> None:
    assert decide("2x+1", "1+2x") is None
    assert decide("2x+1", "2x+1") is True
    assert decide("2x+1", "3") is False


def test_an_empty_ground_truth_is_an_error() -> None:
    for empty in ("", "  ", r"\boxed{}"):
        with pytest.raises(ValueError, match="ground truth is empty"):
            grade("5", empty)


def test_tolerance_zero_accepts_only_the_exact_value() -> None:
    exactly = Options(tolerance=0.0)
    assert not grade("5.2", r"3\sqrt{3}", exactly)
    assert grade(r"\sqrt{27}", r"3\sqrt{3}", exactly)
    with pytest.raises(ValueError, match="tolerance"):
        Options(tolerance=-1.0)


def test_an_absolute_tolerance_replaces_the_rules_for_decimals() -> None:
    within = Options(error=0.1)
    assert grade("4.2", "4.25", within) and not grade("4.36", "4.25", within)
    assert grade("5", r"3\sqrt{3}", Options(error=0.2)) and not grade(
        "5 kg", r"3\sqrt{3} \text{ m}", Options(error=0.2)
    )


def test_units_can_be_required() -> None:
    required = Options(units="required")
    assert grade("5", r"5 \text{ cm}") and not grade("5", r"5 \text{ cm}", required)
    assert grade("50 mm", r"5 \text{ cm}", required) and grade("5", "5", required)
    with pytest.raises(ValueError, match="units: expected optional or required, got 'no'"):
        Options(units="no")


def test_integers_can_be_rounded_values() -> None:
    assert not grade("5", r"3\sqrt{3}") and grade("5", r"3\sqrt{3}", Options(rounded_integers=True, tolerance=0.05))
    assert not grade("6", r"3\sqrt{3}", Options(rounded_integers=True, tolerance=0.5))
    assert not grade("5", "5.2", Options(rounded_integers=True))


def test_the_example_in_the_documentation() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text()
    [example] = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "explain" in one]
    assert f'# "{explain("5 km east", "5 km west").reason}"' in example
    assert grade(r"\frac{4\sqrt3}{3}", r"\frac{4}{\sqrt{3}}")


@pytest.mark.parametrize(
    ("answer", "truth", "reason"),
    [
        ("5", "5", "the same text"),
        ("6", "5", "6 is not 5"),
        ("", "5", "there is no answer"),
        ("5 cm", "5 m", "the quantity '5 cm' is not the quantity '5 m': cm and m: the values differ"),
        ("5 kg", "5 m", "the quantity '5 kg' is not the quantity '5 m': the unit kg is not m"),
        ("(1,3)", "(1,2)", "part 2: the number '3' is not the number '2': the values differ"),
        ("1,2", "1,2,3", "expected 3 parts, got 2"),
        ("y=5", "x=5", "y is not x"),
        (r"\frac{7}{2", "5", r"expected the number '5', got the text '\\frac{7}{2'"),
    ],
)
def test_the_reason_is_a_sentence(answer: str, truth: str, reason: str) -> None:
    assert explain(answer, truth).reason == reason


@pytest.mark.parametrize("garbage", ["{", "9^{", "(", "1,", "\\text{", " ", "a ", "=", "1 ", "\\frac", "x_", "$"])
def test_garbage_is_rejected_in_linear_time(garbage: str) -> None:
    begin = time.process_time()
    for length in (400, 2000, 1_000_000):
        assert decide(garbage * (length // len(garbage)), "5") in (False, None)
        assert decide(garbage * (length // len(garbage)), "x + 5") in (False, None)
    assert time.process_time() - begin < 2.0


def number(text: str) -> float:
    """The value of a text as a float."""
    tree = parse_expression(tokenize(text))
    found = exact(tree)
    return float(numeric(tree, 20) if found is None else found)


@pytest.fixture(scope="module")
def truths(shared_data: Path) -> list[str]:
    import pyarrow.parquet as parquet

    return parquet.read_table(shared_data / "geometry3k" / "test.parquet", columns=["answer"])["answer"].to_pylist()


def test_every_real_answer_is_correct_as_written_and_rounded(truths: list[str]) -> None:
    assert len(truths) == 553
    for truth in truths:
        assert grade(rf"so the answer is \boxed{{{truth}}}", truth), truth
        assert grade(rf"so x = \boxed{{x = {number(truth):.2f}}}", truth), truth


def test_the_answer_to_another_problem_is_incorrect(truths: list[str]) -> None:
    for truth, other in zip(truths, truths[1:] + truths[:1], strict=True):
        same = abs(number(truth) - number(other)) < 1e-9
        assert grade(rf"\boxed{{{other}}}", truth) is same, (truth, other)


def test_the_parser_agrees_with_sympy_on_real_answers(truths: list[str]) -> None:
    from math_verify import LatexExtractionConfig, parse

    config = [LatexExtractionConfig()]
    agreed = 0
    for truth in sorted({truth for truth in truths if not truth.isdecimal()})[::3]:
        expected = parse(f"${truth}$", config, fallback_mode="no_fallback", parsing_timeout=None)
        if expected:  # math-verify does not read acos
            assert number(truth) == pytest.approx(float(expected[0].evalf()), rel=1e-9), truth
            agreed += 1
    assert agreed >= 40


def test_an_answer_near_the_value_is_not_accepted(truths: list[str]) -> None:
    for truth in truths:
        exactly = number(truth)
        for other in (f"{exactly + 1:.2f}", f"{exactly * 1.05 + 0.1:.1f}", f"{round(exactly) + 2}"):
            assert grade(other, truth) is (abs(number(other) - exactly) < 1e-9), (other, truth)
