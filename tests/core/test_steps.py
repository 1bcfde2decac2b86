"""`step_ids` compared with a loop over tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import NewlineSplitter, TokenTable, make_splitter, step_ids

COMMON = settings(deadline=None, max_examples=80, database=None)
TEXTS = ["a", " 7", "\n", ".\n", ")\n\n", " ", "---", "中\n", "", "<image>"]
TABLE = TokenTable(TEXTS)


def contains_a_word(row, places):
    return any(character.isalnum() for character in "".join(TEXTS[row[place]] for place in places))


def naive_step_ids(tokens, text_mask, ends):
    """Cut after each end; merge a piece without letter or digit with the previous one, or the first with the next."""
    out = []
    for row, mask, row_ends in zip(tokens.tolist(), text_mask.tolist(), ends.tolist(), strict=True):
        pieces, current = [], []
        for place, (inside, is_end) in enumerate(zip(mask, row_ends, strict=True)):
            if inside:
                current.append(place)
                if is_end:
                    pieces.append(current)
                    current = []
        pieces += [current] if current else []
        merged = []
        for piece in pieces:
            first_is_wordless = len(merged) == 1 and not contains_a_word(row, merged[0])
            if merged and (first_is_wordless or not contains_a_word(row, piece)):
                merged[-1] += piece
            else:
                merged.append(piece)
        ids = [-1] * len(row)
        for number, piece in enumerate(merged):
            for place in piece:
                ids[place] = number
        out.append(ids)
    return out


@st.composite
def ragged(draw):
    rows, length = draw(st.integers(1, 5)), draw(st.integers(1, 14))
    tokens = draw(st.lists(st.integers(0, 8), min_size=rows * length, max_size=rows * length))
    mask = draw(st.lists(st.sampled_from([True, True, True, False]), min_size=rows * length, max_size=rows * length))
    return torch.tensor(tokens).view(rows, length), torch.tensor(mask).view(rows, length)


@COMMON
@given(ragged(), st.sampled_from(["newline", "window"]))
def test_steps_equal_those_of_a_loop(batch, name):
    tokens, mask = batch
    splitter = make_splitter(name, TABLE, **({"size": 3} if name == "window" else {}))
    expected = naive_step_ids(tokens, mask, splitter.boundaries(tokens, mask))
    assert step_ids(tokens, mask, splitter).tolist() == expected


@COMMON
@given(ragged())
def test_newline_boundaries_are_the_tokens_with_newlines(batch):
    tokens, mask = batch
    expected = [
        ["\n" in TEXTS[token] and inside for token, inside in zip(row, row_mask, strict=True)]
        for row, row_mask in zip(tokens.tolist(), mask.tolist(), strict=True)
    ]
    assert NewlineSplitter(TABLE).boundaries(tokens, mask).tolist() == expected


def test_white_space_joins_the_previous_step_or_at_the_start_the_next():
    a, newline, space = 0, 2, 5
    tokens = torch.tensor([[newline, space, newline, a, newline, newline, space, a, newline, space]])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    assert step_ids(tokens, mask, NewlineSplitter(TABLE)).tolist() == [[0, 0, 0, 0, 0, 0, 1, 1, 1, 1]]


def test_a_lone_mark_joins_the_previous_step_or_at_the_start_the_next():
    a, newline, dot, dashes = 0, 2, 3, 6
    tokens = torch.tensor(
        [[dashes, newline, a, newline, dot, dashes, newline, a, dot, dot], [dot, dashes, newline] * 3 + [a]]
    )
    mask = torch.ones_like(tokens, dtype=torch.bool)
    expected = [[0, 0, 0, 0, 0, 0, 0, 1, 1, 1], [0] * 10]
    assert step_ids(tokens, mask, NewlineSplitter(TABLE)).tolist() == expected


@pytest.mark.parametrize("name", ["newline", "window"])
@pytest.mark.parametrize(("line", "is_step"), [("中", True), ("é", True), ("²", True), ("😀", False), ("—", False)])
def test_byte_tokens_form_a_step_if_they_make_up_a_letter(name, line, is_step):
    def decode(ids):
        return bytes(ids).decode("utf-8", errors="replace")

    table = TokenTable([decode([byte]) for byte in range(256)], decode)
    tokens = torch.tensor([list(f"a\n{line}\n".encode())])
    splitter = make_splitter(name, table, **({"size": 2} if name == "window" else {}))
    ids = step_ids(tokens, torch.ones_like(tokens, dtype=torch.bool), splitter)[0].tolist()
    assert ids[:3] == [0, 0, 1 if is_step else 0]


def test_a_row_of_white_space_is_one_step_and_an_empty_row_has_none():
    tokens = torch.tensor([[2, 5, 2], [0, 0, 0]])
    mask = torch.tensor([[True, True, True], [False, False, False]])
    assert step_ids(tokens, mask, NewlineSplitter(TABLE)).tolist() == [[0, 0, 0], [-1, -1, -1]]


def test_visual_tokens_belong_to_no_step_and_end_none():
    a, end, image = 0, 3, 9
    tokens = torch.tensor([[a, image, image, a, end, image, a]])
    mask = tokens != image
    assert step_ids(tokens, mask, NewlineSplitter(TABLE)).tolist() == [[0, -1, -1, 0, 0, -1, 1]]


@COMMON
@given(ragged())
def test_rows_are_independent(batch):
    tokens, mask = batch
    splitter = NewlineSplitter(TABLE)
    whole = step_ids(tokens, mask, splitter)
    for row in range(len(tokens)):
        assert torch.equal(whole[row, None], step_ids(tokens[row, None], mask[row, None], splitter))


def test_empty_batches_keep_their_shape():
    for shape in [(0, 4), (3, 0)]:
        empty = torch.zeros(shape, dtype=torch.int64)
        assert step_ids(empty, empty.bool(), NewlineSplitter(TABLE)).shape == shape


def test_mismatched_shapes_are_an_error():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        step_ids(torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 4, dtype=torch.bool), NewlineSplitter(TABLE))
