"""Hints end before the answer."""

from __future__ import annotations

import pytest

from echorl_vl.core import NewlineSplitter
from echorl_vl.data.demonstrations import DemonstrationEncoder
from echorl_vl.engines.local.strategies.hints import cut_hints
from echorl_vl.types import Keys, Problem


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained("echorl_vl/tiny/model")


@pytest.mark.parametrize(
    ("demonstration", "hints"),
    [
        ("3 + 4 = 7\n7 * 2 = 14\nSo \\boxed{14}.", ["3 + 4 = 7\n", "3 + 4 = 7\n7 * 2 = 14\n"]),
        ("3 + 4 = 7\nSo \\boxed{7}.\nThese are the apples.\nDone.", ["3 + 4 = 7\n"]),  # text after the box
        ("3 + 4 = 7\n\\[\n\\boxed{7}\n\\]", ["3 + 4 = 7\n\\[\n"]),  # a line without letters joins the previous step
        ("So \\boxed{7}, since\n3 + 4 = 7", []),  # the answer is in the first step
        ("One step with \\boxed{7}.", []),
        ("3 + 4 = 7\n7 * 2 = 14\nSo it is 14", ["3 + 4 = 7\n", "3 + 4 = 7\n7 * 2 = 14\n"]),  # no box
    ],
)
def test_no_hint_contains_the_boxed_answer(tokenizer, demonstration: str, hints: list[str]) -> None:
    problem = Problem("set:0", "?", "7", extra={"solution": demonstration}, keys=Keys(demonstration="solution"))
    tokens = DemonstrationEncoder(tokenizer, 0, needs_box=False).encode(problem)
    found = cut_hints(tokens, tokenizer, NewlineSplitter(tokenizer), 5)
    assert [tokenizer.decode(hint) for hint in found] == hints
