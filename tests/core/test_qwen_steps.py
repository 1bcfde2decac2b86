"""Steps with the Qwen2.5-VL vocabulary, which merges newlines with other characters."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from echorl_vl.core import NewlineSplitter, TokenTable, make_splitter, step_ids

SOLUTIONS = [
    "Since AB is a diameter, angle C is right.\nSo x = 12 (by Pythagoras)\n\nThe answer is \\boxed{12}.",
    "First:\n\n$$\nx^2 + 5^2 = 13^2\n$$\n\nThen x = 12.\r\n  \n```python\nprint(12)\n\n```\n\\boxed{12}\n",
    "角度是 60°。\n所以 😀 x = 3。\n\n\n答案：\\boxed{3}\t\n",
    "\n\n  Let f(x);\n\n\tg();\n}\n\n</think>\n",
]


@pytest.fixture(scope="module")
def tokenizer(shared_data):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(str(shared_data / "qwen2_5_vl"))


@pytest.fixture(scope="module")
def table(tokenizer):
    return TokenTable.from_tokenizer(tokenizer)


def encode(tokenizer, text):
    tokens = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


def test_merged_tokens_end_steps(tokenizer, table):
    tokens, mask = encode(tokenizer, "So it is right.\nThen (as above)\n\nx")
    pieces = [tokenizer.decode([token]) for token in tokens[0]]
    assert ".\n" in pieces and ")\n\n" in pieces  # the premise of the test: neither is the token "\n"
    ids = step_ids(tokens, mask, NewlineSplitter(table))[0].tolist()
    assert [ids[pieces.index(piece)] for piece in (".\n", " (", ")\n\n", "x")] == [0, 1, 1, 2]


@pytest.mark.parametrize("text", SOLUTIONS)
def test_boundaries_are_the_newlines_of_the_decoded_text(tokenizer, table, text):
    """Reference: a token ends a step if the text decoded up to it has more newlines than the text before it."""
    tokens, mask = encode(tokenizer, text)
    newlines = [tokenizer.decode(tokens[0, :end]).count("\n") for end in range(tokens.shape[1] + 1)]
    expected = [after > before for before, after in pairwise(newlines)]
    assert NewlineSplitter(table).boundaries(tokens, mask)[0].tolist() == expected
    assert newlines[-1] == text.count("\n")


@pytest.mark.parametrize("text", SOLUTIONS)
def test_pieces_join_to_the_decoded_text_at_every_token(tokenizer, table, text):
    tokens = encode(tokenizer, text)[0][0].tolist()
    pieces = table.pieces(tokens)
    assert "".join(pieces) == text
    for end in range(len(tokens) + 1):
        assert "".join(pieces[:end]) == tokenizer.decode(tokens[:end]).rstrip("\ufffd")


@pytest.mark.parametrize("name", ["sentence", "formula", "blank_line", "step_heading"])
def test_steps_join_to_the_text(tokenizer, table, name):
    for text in SOLUTIONS:
        tokens, mask = encode(tokenizer, text)
        ids = step_ids(tokens, mask, make_splitter(name, table))[0]
        steps = [tokenizer.decode(tokens[0][ids == step]) for step in range(int(ids.max()) + 1)]
        assert "".join(steps) == text and all(any(map(str.isalnum, step)) for step in steps)


def test_the_formula_splitter_does_not_split_formulas_and_code(tokenizer, table):
    tokens, mask = encode(tokenizer, SOLUTIONS[1])
    ids = step_ids(tokens, mask, make_splitter("formula", table))[0]
    steps = [tokenizer.decode(tokens[0][ids == step]) for step in range(int(ids.max()) + 1)]
    assert steps == [
        "First:\n\n",
        "$$\nx^2 + 5^2 = 13^2\n$$\n\n",
        "Then x = 12.\r\n  \n",
        "```python\nprint(12)\n\n```\n",
        "\\boxed{12}\n",
    ]


def test_ids_outside_the_vocabulary_do_not_change_steps(tokenizer, table):
    tokens, mask = encode(tokenizer, "a.\nb")
    tokens = torch.cat([tokens, torch.tensor([[152_000]])], 1)  # an unused row of the embedding
    mask = torch.ones_like(tokens, dtype=torch.bool)
    assert step_ids(tokens, mask, NewlineSplitter(table))[0].tolist() == [0, 0, 1, 1]
