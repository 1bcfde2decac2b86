"""Steps and token texts with small SentencePiece and byte-level tokenizers."""

from __future__ import annotations

import pytest
import torch

from echorl_vl.core import TokenTable, make_splitter, step_ids

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

TEXT = (
    "First we draw AB. Then we halve it.   So x = 2! Step 2: we know more.\n"
    "    Indented like code\n\tthen Step 3: done. 角 is 60. Yes...\n.\n  The answer is 4."
)
SENTENCES = [
    "First we draw AB.",
    " Then we halve it.",
    "   So x = 2!",
    " Step 2: we know more.\n",
    "    Indented like code\n",
    "\tthen Step 3: done.",
    " 角 is 60.",
    " Yes...\n.\n",
    "  The answer is 4.",
]
HEADINGS = [
    TEXT[: TEXT.index("Step 2")],
    TEXT[TEXT.index("Step 2") : TEXT.index("Step 3")],
    TEXT[TEXT.index("Step 3") :],
]
PIECES = ["▁▁", "▁▁▁▁", "▁▁▁So", "▁▁The", "▁Then", "▁then", "▁Step", "▁Yes", "▁is", "▁we", "▁Indented", "..."]


def sentence_piece():
    """Like Llama 2: "▁" for a space, byte fallback, and a decoder that drops one space at the start."""
    vocabulary = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    merges = []
    for piece in ["▁", *sorted(set(TEXT) - set(" 角\t\n")), *PIECES]:
        for end in range(1, len(piece) + 1):
            if piece[:end] not in vocabulary:
                vocabulary.append(piece[:end])
                merges += [(piece[: end - 1], piece[end - 1])] if end > 1 else []
    model = tokenizers.models.BPE(
        vocab={piece: number for number, piece in enumerate(vocabulary)},
        merges=merges,
        unk_token="<unk>",
        byte_fallback=True,
        fuse_unk=True,
    )
    tokenizer = tokenizers.Tokenizer(model)
    normalizers, decoders = tokenizers.normalizers, tokenizers.decoders
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def byte_level():
    """Like Qwen: merges over bytes, a space belongs to the following word, and no space is added or dropped."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    return tokenizer


@pytest.fixture(scope="module", params=[sentence_piece, byte_level])
def tokenizer(request):
    return transformers.PreTrainedTokenizerFast(tokenizer_object=request.param())


def cut(tokenizer, name):
    tokens = torch.tensor([tokenizer.encode(TEXT, add_special_tokens=False)])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    ids = step_ids(tokens, mask, make_splitter(name, tokenizer))[0].tolist()
    steps = [""] * (max(ids) + 1)
    for piece, step in zip(TokenTable.from_tokenizer(tokenizer).pieces(tokens[0].tolist()), ids, strict=True):
        steps[step] += piece
    return steps


def test_the_vocabularies_have_tokens_with_leading_spaces(tokenizer):
    texts = TokenTable.from_tokenizer(tokenizer).texts
    assert " Then" in texts or " Th" in texts
    assert any(text.startswith("  ") for text in texts)


@pytest.mark.parametrize(("name", "steps"), [("sentence", SENTENCES), ("step_heading", HEADINGS)])
def test_steps_equal_those_of_the_text(tokenizer, name, steps):
    """Up to surrounding spaces, which can share a token with the following word or the previous newline."""
    assert "".join(steps) == TEXT
    actual = cut(tokenizer, name)
    assert "".join(actual).strip() == TEXT  # SentencePiece adds a space before the text
    assert [step.strip(" ") for step in actual] == [step.strip(" ") for step in steps]


def test_token_texts_equal_what_a_token_adds_to_decoded_text(tokenizer):
    """The token is decoded after a word, so that the decoder does not drop its space."""
    table = TokenTable.from_tokenizer(tokenizer)
    head = tokenizer.encode("it", add_special_tokens=False)
    for token, text in enumerate(table.texts):
        assert tokenizer.decode([*head, token], clean_up_tokenization_spaces=False) == tokenizer.decode(head) + text
