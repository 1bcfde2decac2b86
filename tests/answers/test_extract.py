"""Extraction of the last \\boxed of a response."""

from __future__ import annotations

import time

import pytest

from echorl_vl.answers.extract import count_boxes, last_boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{4} no, \boxed{5}.", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\sqrt{\frac{3}{4}}} and done}", r"\sqrt{\frac{3}{4}}"),
        (r"\boxed { 7 }", "7"),
        (r"\fbox{8}", "8"),
        (r"\boxed{4} \fbox{8}", "8"),
        (r"$\boxed 5$", "5"),
        (r"\boxed5.", "5"),
        (r"\boxed{\boxed{6}}", "6"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed{}", ""),
        ("\\boxed{a\nb}", "a\nb"),
        ("", None),
        ("the answer is 5", None),
        (r"\boxedx{5}", None),
        (r"\boxed", None),
        (r"\boxed{5", None),
        (r"\boxed{4} then \boxed{5", None),
        (r"\boxed{\frac{1}{2}", None),
        (r"\boxed $x$", None),
    ],
)
def test_the_last_box_is_extracted(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


def test_boxed_and_fbox_are_counted() -> None:
    assert count_boxes(r"\boxed{1} \fbox{2} \boxedx{3}") == 2


@pytest.mark.parametrize("garbage", ["\\boxed{", "\\boxed", "{", "}", "\\", "\\fbox 1 ", "\\boxed{}", "a{b}", " "])
def test_a_megabyte_of_garbage_takes_linear_time(garbage: str) -> None:
    begin = time.process_time()
    last_boxed("\\boxed{" + garbage * (1_000_000 // len(garbage)))
    assert time.process_time() - begin < 3.0  # a quadratic scan takes minutes
