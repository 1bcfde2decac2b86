"""`TokenTable`: texts of tokens, parts of characters, ids outside the vocabulary."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import TokenTable


class ByteTokenizer:
    """A byte-level tokenizer without merges, plus a few merged tokens."""

    MERGED = (b".\n", b")\n\n", b" the", b"\xe3\x80", b"\x82 ", b"\x9f\x98\x80!")

    def __init__(self):
        self.vocabulary = [bytes([value]) for value in range(256)] + list(self.MERGED)

    def __len__(self):
        return len(self.vocabulary)

    def decode(self, ids):
        return b"".join(self.vocabulary[token] for token in ids).decode("utf-8", errors="replace")


class SpaceDroppingTokenizer:
    """Like SentencePiece: decoding drops one space at the start."""

    VOCABULARY = ("▁the", "▁", "a", "\n", "cat", "▁cat", ".", "▁▁▁x", "▁▁")

    def __len__(self):
        return len(self.VOCABULARY)

    def batch_decode(self, sequences, skip_special_tokens=True, clean_up_tokenization_spaces=True):
        assert not skip_special_tokens and not clean_up_tokenization_spaces
        return [
            "".join(self.VOCABULARY[token] for token in ids).replace("▁", " ").removeprefix(" ") for ids in sequences
        ]


@pytest.fixture(scope="module")
def byte_table():
    return TokenTable.from_tokenizer(ByteTokenizer())


def test_flags_cover_merged_tokens(byte_table):
    tokens = torch.tensor([[10, 32, 46, 256, 257, 258, 9]])  # newline, space, ".", ".\n", ")\n\n", " the", tab
    assert byte_table.newline(tokens).tolist() == [[True, False, False, True, True, False, False]]
    assert byte_table.word(tokens, tokens >= 0).tolist() == [[False, False, False, False, False, True, False]]


def test_ids_outside_the_vocabulary_have_no_letter_and_no_newline(byte_table):
    tokens = torch.tensor([[-100, -1, len(byte_table), 10**6, 65]])
    assert byte_table.newline(tokens).tolist() == [[False] * 5]
    everything = torch.ones_like(tokens, dtype=torch.bool)
    assert byte_table.word(tokens, everything).tolist() == [[False, False, False, False, True]]
    assert not byte_table.word(tokens, ~everything).any()


def test_texts_keep_leading_spaces_that_the_tokenizer_drops():
    table = TokenTable.from_tokenizer(SpaceDroppingTokenizer())
    assert table.texts == [" the", " ", "a", "\n", "cat", " cat", ".", "   x", "  "]
    assert table.word(torch.tensor([[1, 3, 2]]), torch.ones(1, 3, dtype=torch.bool)).tolist() == [[False, False, True]]


def test_from_tokenizer_returns_a_table_unchanged(byte_table):
    assert TokenTable.from_tokenizer(byte_table) is byte_table


def test_an_object_without_decode_is_an_error():
    with pytest.raises(ValueError, match=r"expected a tokenizer with len\(\) and decode\(\), got int"):
        TokenTable.from_tokenizer(42)


@settings(deadline=None, max_examples=60, database=None)
@given(st.text(alphabet="a.\n )é。😀　", max_size=30), st.data())
def test_a_character_is_the_piece_of_its_last_byte(text, data):
    table = TokenTable.from_tokenizer(ByteTokenizer())
    tokens = list(text.encode())
    pieces = table.pieces(tokens)
    expected = []
    for character in text:
        expected += [""] * (len(character.encode()) - 1) + [character]
    assert pieces == expected


@settings(deadline=None, max_examples=60, database=None)
@given(st.text(alphabet="a.\n )é。😀　中²", max_size=30), st.lists(st.booleans(), min_size=30, max_size=30))
def test_a_byte_counts_as_a_word_if_its_character_is_a_letter(text, hidden):
    """One token per byte, with tokens outside of the mask between the characters."""
    tokens, mask, expected = [], [], []
    for character, hide in zip(text, hidden, strict=False):
        data = [65] * hide + list(character.encode())
        tokens += data
        mask += [False] * hide + [True] * (len(data) - hide)
        expected += [False] * hide + [character.isalnum()] * (len(data) - hide)
    table = TokenTable.from_tokenizer(ByteTokenizer())
    word = table.word(torch.tensor([tokens], dtype=torch.int64), torch.tensor([mask], dtype=torch.bool))
    assert word.tolist() == [expected]


@settings(deadline=None, max_examples=60, database=None)
@given(st.lists(st.sampled_from([0xE3, 0x80, 0x82, 0x9F, 0xFF, 65, 10, 256, 259, 260, 261]), max_size=25))
def test_invalid_bytes_do_not_move_ascii_text(tokens):
    tokenizer = ByteTokenizer()
    pieces = TokenTable.from_tokenizer(tokenizer).pieces(tokens)
    for token, piece in zip(tokens, pieces, strict=True):
        plain = [character for character in tokenizer.decode([token]) if character.isascii()]
        assert [character for character in piece if character.isascii()] == plain


def test_a_long_run_of_invalid_bytes_takes_linear_time():
    calls = []

    class Counting(ByteTokenizer):
        def decode(self, ids):
            calls.append(len(ids))
            return super().decode(ids)

    table = TokenTable.from_tokenizer(Counting())
    calls.clear()
    table.pieces([0xFF] * 2000)
    assert sum(calls) < 2000 * 64
