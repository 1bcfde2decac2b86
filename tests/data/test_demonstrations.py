"""Demonstrations as text and as tokens, in every format, on real data sets, and errors of unusable ones."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer

from echorl_vl.answers.extract import last_boxed
from echorl_vl.data.demonstrations import (
    MISSING,
    NO_BOX,
    REASONS,
    RESERVED,
    TOO_LONG,
    UNREADABLE,
    DemonstrationEncoder,
    DemonstrationError,
    UsableDemonstrations,
    answer_opening,
    demonstration_text,
    usable_demonstrations,
)
from echorl_vl.data.solutions import theorem_step
from echorl_vl.data.sources import load_problems
from echorl_vl.errors import UserError
from echorl_vl.types import Keys, Problem

BOXED = "One and one.\nSo \\boxed{2}."


def problem(trace, key: str | None = "trace", row: int = 0) -> Problem:
    return Problem(f"set.parquet:{row}", "1 + 1?", "2", extra={"trace": trace}, keys=Keys(demonstration=key))


@pytest.fixture(scope="module")
def tokenizer(processor_folder):
    return AutoTokenizer.from_pretrained(processor_folder)


@pytest.fixture(scope="module")
def real_tokenizer(shared_data):
    return AutoTokenizer.from_pretrained(shared_data / "qwen2_5_vl")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (BOXED, BOXED),
        ("\n" + BOXED + " \n", BOXED),
        (
            "48/2 = <<48/2=24>>24.\n24+48 = $<<24+48=72>>72.\n#### 72",
            "48/2 = 24.\n24+48 = $72.\nThe answer is \\boxed{72}.",
        ),
        ("#### 72", "The answer is \\boxed{72}."),
        ("It is 2", "It is 2"),
        ("a <<b>>", "a <<b>>"),
        # A heading in a demonstration with a boxed answer is not a final answer.
        ("So \\boxed{2}.\n#### Done", "So \\boxed{2}.\n#### Done"),
        ([{"role": "assistant", "content": "<think>\na\n</think>\nb"}], "<think>\na\n</think>\nb"),
        ([{"content": "?", "role": "user"}, {"content": BOXED, "role": "assistant"}], BOXED),
        ([{"role": "user", "content": "?"}], None),
        ([{"role": "assistant", "content": None}], None),
        (
            ["line_addition(1,AB,BC)", "circle_area_formula(1,O)"],
            "By the line addition of AB and BC.\nBy the circle area formula of O.\nSo the answer is \\boxed{2}.",
        ),
        ([], None),
        ("", None),
        (" \n", None),
        (None, None),
    ],
)
def test_every_format_becomes_text(value, expected):
    assert demonstration_text(problem(value), "trace") == expected


def test_nested_and_missing_columns():
    nested = Problem("a", "?", "2", extra={"a": {"b": BOXED}, "a.c": "flat"})
    assert demonstration_text(nested, "a.b") == BOXED and demonstration_text(nested, "a.c") == "flat"
    assert (
        demonstration_text(nested, "a.x")
        is demonstration_text(nested, "x")
        is demonstration_text(nested, "a.b.c")
        is None
    )


@pytest.mark.parametrize("value", [["two", "pieces"], ["line_addition(1,AB,BC)", "so x"], 7, {"b": 1}, [["a"]]])
def test_values_of_other_types_are_errors(value):
    with pytest.raises(
        DemonstrationError, match=r"set.parquet, row 0, trace: expected text, chat messages .*, got \w+"
    ) as error:
        demonstration_text(problem(value), "trace")
    assert error.value.reason == UNREADABLE


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            "parallel_property_ipsilateral_internal_angle(1,ZY,WX)",
            "By the parallel property, ipsilateral internal angle, of ZY and WX.",
        ),
        ("similar_triangle_judgment_aa(2,ABC,DEF)", "By the similar triangle judgment, AA, of ABC and DEF."),
        ("right_trapezoid_area_formular(1,ABCD)", "By the right trapezoid area formula of ABCD."),
        ("sine_theorem(1,ABC)", "By the sine theorem of ABC."),
        ("triangle_area_formula_sine(1,ABC)", "By the triangle area formula, sine, of ABC."),
        (
            "parallel_judgment_per_per(1,AB,CD,EF)",
            "By the parallel judgment, both perpendicular to a third line, of AB, CD and EF.",
        ),
        (
            "perpendicular_bisector_judgment_per_and_mid(1,AB,CD)",
            "By the perpendicular bisector judgment, perpendicular and midpoint, of AB and CD.",
        ),
    ],
)
def test_a_theorem_call_becomes_a_sentence(call, words):
    assert theorem_step(call) == words


def test_a_demonstration_is_encoded_like_a_response_of_the_policy(tokenizer):
    encoder = DemonstrationEncoder(tokenizer, eos_id=tokenizer.eos_token_id)
    ids = encoder.encode(problem(BOXED))
    assert ids.dtype == torch.int64 and ids.shape == (len(BOXED) + 1,)  # one token per byte
    assert tokenizer.decode(ids[:-1]) == BOXED and ids[-1] == tokenizer.eos_token_id
    # After a prompt it equals the whole conversation in the chat template.
    chat = [{"role": "user", "content": "1 + 1?"}]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": BOXED}], tokenize=False)
    expected = tokenizer(whole.rstrip("\n"), add_special_tokens=False)["input_ids"]
    assert tokenizer(prompt, add_special_tokens=False)["input_ids"] + ids.tolist() == expected


def test_no_begin_of_text_token_is_added(tokenizer):
    class AddsBeginOfText:
        added_tokens_decoder = tokenizer.added_tokens_decoder
        all_special_ids = tokenizer.all_special_ids
        get_vocab = tokenizer.get_vocab

        def __call__(self, texts, add_special_tokens=True):
            ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
            return {"input_ids": [[tokenizer.pad_token_id, *row] if add_special_tokens else row for row in ids]}

    encoded = [DemonstrationEncoder(kind, 7).encode(problem(BOXED)) for kind in (tokenizer, AddsBeginOfText())]
    assert torch.equal(*encoded)


def unusable(tokenizer, value, **options) -> DemonstrationError:
    with pytest.raises(DemonstrationError) as error:
        DemonstrationEncoder(tokenizer, tokenizer.eos_token_id, **options).encode(problem(value))
    return error.value


def test_an_unusable_demonstration_has_its_reason(tokenizer):
    assert unusable(tokenizer, None).reason == MISSING
    assert unusable(tokenizer, ["a", "b"]).reason == UNREADABLE
    for text in ("It is 2.", "\\boxed{2", "So \\boxed{}."):
        assert unusable(tokenizer, text).reason == NO_BOX
        DemonstrationEncoder(tokenizer, 1, needs_box=False).encode(problem(text))
    for token in ("<|im_end|>", "<|image_pad|>", "<|vision_start|>", "<|endoftext|>"):
        error = unusable(tokenizer, f"{BOXED} {token}")
        assert error.reason == RESERVED and token in str(error) and "set.parquet, row 0, trace" in str(error)
    length = len(BOXED) + 1
    assert len(DemonstrationEncoder(tokenizer, 1, max_tokens=length).encode(problem(BOXED))) == length
    error = unusable(tokenizer, BOXED, max_tokens=length - 1)
    assert error.reason == TOO_LONG and f"has {length} tokens, data.max_response_length is {length - 1}" in str(error)
    with pytest.raises(UserError, match=r"set data\.demonstration_key"):
        DemonstrationEncoder(tokenizer, 1).encode(problem(BOXED, key=None))


def test_added_tokens_that_a_policy_writes_are_allowed(real_tokenizer):
    encoder = DemonstrationEncoder(real_tokenizer, real_tokenizer.eos_token_id)
    ids = encoder.encode(problem(f"<tool_call>{BOXED}</tool_call>"))
    assert real_tokenizer.convert_tokens_to_ids("<tool_call>") == ids[0]
    for token in ("<|fim_pad|>", "<|object_ref_start|>", "<|vision_pad|>"):
        assert unusable(real_tokenizer, BOXED + token).reason == RESERVED
    plain_looking = AutoTokenizer.from_pretrained(real_tokenizer.name_or_path, extra_special_tokens={"stop": "[STOP]"})
    assert unusable(plain_looking, BOXED + "[STOP]").reason == RESERVED
    assert encoder.encode(problem(BOXED + "[STOP]"))[-1] == real_tokenizer.eos_token_id
    # Other spellings are text.
    assert encoder.encode(problem(BOXED + "<| im_end |>"))[-1] == real_tokenizer.eos_token_id


def test_the_opening_of_the_prompt_is_not_repeated(tokenizer):
    opening = answer_opening("<|im_start|>assistant\n<think>\n")
    assert opening == "<think>\n" and answer_opening("<think></think>\n") == answer_opening("assistant\n") == ""
    encoder = DemonstrationEncoder(tokenizer, 1, opening=opening)
    for text in (f"<think>\n{BOXED}", f"<think>{BOXED}", BOXED):
        assert tokenizer.decode(encoder.encode(problem(text))[:-1]) == BOXED
    assert (
        tokenizer.decode(DemonstrationEncoder(tokenizer, 1).encode(problem("<think>" + BOXED))[:-1])
        == "<think>" + BOXED
    )


TRACES = [BOXED, None, "no box", BOXED + "<|im_end|>", BOXED * 9, ["a"], BOXED + " ", "#### 3"]
WHY = [None, MISSING, NO_BOX, RESERVED, TOO_LONG, UNREADABLE, None, None]


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_usable_demonstrations_are_those_that_encode(tokenizer, batch_size):
    problems = [problem(trace, row=row) for row, trace in enumerate(TRACES * 3)]
    encoder = DemonstrationEncoder(tokenizer, tokenizer.eos_token_id, max_tokens=len(BOXED) + 60)
    found = usable_demonstrations(problems, encoder, batch_size=batch_size)
    kept, counts = [], dict.fromkeys(REASONS, 0)
    for index, one in enumerate(problems):  # naive reference: one at a time
        try:
            encoder.encode(one)
            kept.append(index)
        except DemonstrationError as error:
            counts[error.reason] += 1
            assert error.reason == WHY[index % len(WHY)]
    assert found == UsableDemonstrations(kept, counts) and found.dropped == 15
    assert str(found).startswith("9 usable demonstrations, 15 not (3 missing, ") and "3 too long" in str(found)


def test_an_error_counts_the_rows_and_lists_the_first(tokenizer):
    problems = [problem(trace, row=row + 7) for row, trace in enumerate(TRACES * 3)]
    encoder = DemonstrationEncoder(tokenizer, tokenizer.eos_token_id, max_tokens=len(BOXED) + 60)
    with pytest.raises(UserError) as error:
        usable_demonstrations(problems, encoder, "error")
    message = str(error.value)
    assert "9 usable demonstrations, 15 not (3 missing" in message and "15 of 24 rows can't be used" in message
    assert "set.parquet, row 8, trace: has no worked solution" in message and message.endswith("and 7 more")
    assert usable_demonstrations(problems[:1], encoder, "error").kept == [0]
    # It is an error if no demonstration is usable, whatever the setting.
    with pytest.raises(
        UserError, match=r"demonstrations: 0 usable demonstrations, 2 not \(1 missing, 1 without a boxed answer\)"
    ):
        usable_demonstrations(problems[1:3], encoder, "drop")
    named = [replace(one, uid="by hand") for one in problems[1:2]]
    with pytest.raises(UserError, match="row 0, trace: has no worked solution"):
        usable_demonstrations(named, encoder)


def test_generated_geometry_has_usable_demonstrations(tokenizer):
    problems = load_problems("generated/geometry3k@validation", demonstration_key="solution")[:50]
    encoder = DemonstrationEncoder(tokenizer, tokenizer.eos_token_id)
    assert usable_demonstrations(problems, encoder, "error").kept == list(range(50))
    for one in problems[:5]:
        assert (
            demonstration_text(one, "solution") == one.extra["solution"]
            and last_boxed(one.extra["solution"]) == one.answer
        )


def test_demonstrations_of_gsm8k_end_in_the_answer(shared_data, real_tokenizer):
    path = str(shared_data / "math_train" / "gsm8k_train.jsonl")
    problems = load_problems(path, "question", demonstration_key="answer")[:400]
    encoder = DemonstrationEncoder(real_tokenizer, real_tokenizer.eos_token_id, max_tokens=512)
    assert usable_demonstrations(problems, encoder, "error").kept == list(range(400))
    for one in problems:
        text = demonstration_text(one, "answer")
        assert last_boxed(text) == one.answer and "<<" not in text and "####" not in text
        assert text.endswith(f"\nThe answer is \\boxed{{{one.answer}}}.")
        assert len(text.split("\n")) == len(one.extra["answer"].strip().split("\n"))


def test_demonstrations_of_geometry3k_end_in_the_answer(shared_data, real_tokenizer):
    problems = load_problems(f"{shared_data / 'geometry3k'}@validation", demonstration_key="theorems")
    encoder = DemonstrationEncoder(real_tokenizer, real_tokenizer.eos_token_id, max_tokens=512)
    found = usable_demonstrations(problems, encoder)
    assert len(found.kept) + found.dropped == 280 and found.counts[MISSING] == found.dropped < 28
    for one in (problems[index] for index in found.kept[::10]):
        *steps, last = demonstration_text(one, "theorems").split("\n")
        assert len(steps) == len(one.extra["theorems"]) and last == f"So the answer is \\boxed{{{one.answer}}}."


@pytest.mark.parametrize(
    ("name", "prompt_key", "demonstration_key", "limit", "usable", "missing", "long"),
    [
        ("math_train/gsm8k_train.jsonl", "question", "answer", 256, 7443, 0, 30),
        ("geometry3k/train.parquet", "problem", "theorems", 128, 1815, 98, 101),
    ],
)
def test_number_of_usable_demonstrations_in_real_training_sets(
    shared_data, real_tokenizer, name, prompt_key, demonstration_key, limit, usable, missing, long
):
    problems = load_problems(str(shared_data / name), prompt_key, demonstration_key=demonstration_key)
    found = usable_demonstrations(
        problems, DemonstrationEncoder(real_tokenizer, real_tokenizer.eos_token_id, max_tokens=limit)
    )
    expected = dict.fromkeys(REASONS, 0) | {MISSING: missing, TOO_LONG: long}
    assert (len(found.kept), found.counts) == (usable, expected)


def test_demonstrations_import_no_image_library():
    names = ("PIL", "torchvision", "echorl_vl.data.images")
    script = f"import sys, echorl_vl.data.demonstrations; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
