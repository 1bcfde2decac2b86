"""Splitters compared with steps written by hand and with character-level references."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import SPLITTERS, NewlineSplitter, TokenTable, make_splitter, step_ids

COMMON = settings(deadline=None, max_examples=50, database=None)
CHARACTERS = [chr(code) for code in range(128)] + ["é", "。", "！", "😀", "中"]
TABLE = TokenTable(CHARACTERS)  # one token per character, so that steps are substrings


def characters(text):
    tokens = torch.tensor([[CHARACTERS.index(character) for character in text]], dtype=torch.int64)
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


def cut(name, text, **options):
    """The text of each step, with one token per character."""
    tokens, mask = characters(text)
    ids = step_ids(tokens, mask, make_splitter(name, TABLE, **options))[0].tolist()
    steps = [""] * (max(ids, default=-1) + 1)
    for character, step in zip(text, ids, strict=True):
        steps[step] += character
    return steps


CASES = [
    ("newline", {}, ["a\n\n", "b\n", "c"]),
    ("newline", {}, [".\n---\na\n.\n\n", "b\n**\n", "中\n😀\n"]),
    ("blank_line", {}, ["---\n\na\n\n.\n\n", "b"]),
    ("sentence", {}, ["It is 3. ... !", " So. ?\n.\n", "d"]),
    ("regex", {"pattern": ";"}, ["a;;.;", "b"]),
    ("step_heading", {}, ["***\nStep 1: a\n", "Step 2: b\n---\n"]),
    ("formula", {}, ["$$\n$$\na\n\\[\n\\]\n", "b"]),
    ("window", {"size": 2}, ["ab..", "c."]),
    ("blank_line", {}, ["a\nb\n \n\n", "c\n\n", "d\n"]),
    ("sentence", {}, ["It is 3.14 cm.", ' He said "why?"', " So x = 2!", " Done"]),
    ("sentence", {}, ["1. First, e.g. this.", " Then\n", "2. see Fig. 3.", " Yes..."]),
    ("sentence", {}, ["中。", "中！", "a.b c.", " No."]),
    ("regex", {"pattern": r";\s*"}, ["a; ", "b;  ", "c"]),
    ("regex", {"pattern": r"(?=\bThus\b)"}, ["a b ", "Thus c ", "Thus d"]),
    ("step_heading", {}, ["Plan\n", "Step 1: a\nb\n", "Step 2: as in step 1 we\n"]),
    ("step_heading", {}, ["### Step 1. a\n\n", "**Step 2:** b ", "Step 3: c\nsteps 4: no\nStep 5 is\n", "STEP 6\n"]),
    ("formula", {}, ["a\n", "$$x\n=\ny$$\n", "b\n", "c"]),
    ("formula", {}, ["so \\[x \\\\[2pt]\ny\\] and\n", "b"]),
    ("formula", {}, ["```python\na = 1\n\nb = '$$'\n```\n", "$$c$$\n", "d"]),
    ("formula", {}, ["~~~\na\n```\nb\n~~~\n", "c"]),
    ("formula", {}, ["a $$\n", "never\n", "closed"]),
    ("formula", {}, ["a\n", "```\nnever\nclosed\n"]),
    ("formula", {}, ["a \\\\[2pt]\n", "b \\]\n", "c ``` d\n", "e"]),
    ("window", {"size": 4}, ["abcd", "efgh", "i"]),
]


@pytest.mark.parametrize(("name", "options", "steps"), CASES)
def test_steps_equal_those_written_by_hand(name, options, steps):
    assert cut(name, "".join(steps), **options) == steps


def test_the_cases_cover_every_splitter():
    assert {case[0] for case in CASES} == set(SPLITTERS)


def test_merged_tokens_and_multi_byte_characters_end_steps():
    table = TokenTable(["so", ".\n", ")\n\n", " the. But", "\n", "x", "。\n"])
    tokens = torch.tensor([[0, 1, 0, 2, 4, 5, 3, 5, 6]])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    assert step_ids(tokens, mask, NewlineSplitter(table)).tolist() == [[0, 0, 1, 1, 1, 2, 2, 2, 2]]
    # " the. But" contains the end of a sentence and the start of the next: it belongs to the first
    assert step_ids(tokens, mask, make_splitter("sentence", table)).tolist() == [[0, 0, 1, 1, 1, 2, 2, 3, 3]]


def test_an_image_in_the_middle_does_not_hide_delimiters():
    tokens, mask = characters("a$$x\ny$$\nb")
    mask[0, 4:6] = False  # visual tokens in the place of the newline inside the formula and of y
    assert step_ids(tokens, mask, make_splitter("formula", TABLE)).tolist() == [[0, 0, 0, 0, -1, -1, 0, 0, 0, 1]]
    tokens, mask = characters("a\n?\nb")
    mask[0, 2] = False
    blank_line = make_splitter("blank_line", TABLE)
    assert step_ids(tokens, mask, blank_line).tolist() == [[0, 0, -1, 0, 1]]


@COMMON
@given(st.text(alphabet="a.!\n $\\[]`1 Step:", max_size=60), st.sampled_from(sorted(SPLITTERS)))
def test_the_steps_of_any_text_join_to_the_text(text, name):
    options = {"regex": {"pattern": r"\W"}, "window": {"size": 7}}.get(name, {})
    steps = cut(name, text, **options)
    assert "".join(steps) == text
    assert len(steps) < 2 or all(any(character.isalnum() for character in step) for step in steps)


@COMMON
@given(st.text(alphabet="ab $\\[]\n", max_size=60))
def test_the_formula_splitter_equals_a_regular_expression(text):
    spans = [match.span() for match in re.finditer(r"\$\$.*?\$\$|(?<!\\)\\\[.*?(?<!\\)\\\]", text, re.S)]
    if re.search(r"\$\$|(?<!\\)\\\[", re.sub(r"\$\$.*?\$\$|(?<!\\)\\\[.*?(?<!\\)\\\]", "", text, flags=re.S)):
        return  # unclosed formulas are among the cases written by hand
    ends = [at for at, character in enumerate(text) if character == "\n" and not any(a <= at < b for a, b in spans)]
    tokens, mask = characters(text)
    assert make_splitter("formula", TABLE).boundaries(tokens, mask)[0].nonzero().flatten().tolist() == ends


@pytest.mark.parametrize("name", ["blank_line", "sentence", "step_heading", "formula"])
@pytest.mark.parametrize("text", [".", "\\[", "$$", "`", "\n ", " ", "# ", "Step 1:", ".)"])
def test_degenerate_rollouts_take_linear_time(name, text):
    splitter = make_splitter(name, TABLE)
    list(splitter.ends(text * 100_000)) + list(splitter.starts(text * 100_000))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("newlines", {}, "newline, blank_line"),
        ("regex", {}, "'pattern' is missing"),
        ("regex", {"pattern": "("}, "valid pattern"),
        ("regex", {"pattern": 3}, "valid pattern"),
        ("newline", {"size": 3}, "unknown option 'size'"),
        ("window", {"size": 0}, "size >= 1"),
        ("window", {"size": True}, "size >= 1"),
    ],
)
def test_invalid_options_are_errors(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_splitter(name, TABLE, **options)
