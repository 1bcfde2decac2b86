"""The released tokenizer, template and image processor of Qwen2.5-VL on the real Geometry3K problems."""

from __future__ import annotations

import pytest

from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.screening import screen
from echorl_vl.data.sources import load_problems

SPLITS = {"train": 2014, "validation": 280, "test": 553}


def check_prompt(encoder, problem, length) -> None:
    prompt = encoder.encode(problem)
    assert len(prompt) == length
    features = int(prompt.image_grid_thw.prod(1).sum()) // encoder.images.processing.merge_size**2
    assert int((prompt.input_ids == encoder.processor.image_token_id).sum()) == features > 0
    assert prompt.pixel_values.shape == (features * 4, 3 * 2 * 14 * 14)
    assert bool(prompt.pixel_values.isfinite().all())
    # Without the images' tokens, decoding restores the text.
    text = encoder.tokenizer.decode(prompt.input_ids).replace("<|image_pad|>" * features, "<|image_pad|>")
    assert text == prompt.text
    assert problem.question.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>") in text


@pytest.fixture(scope="module")
def encoder(real_processor):
    # No cache, as the 2,847 prompts would take 4 GB.
    return PromptEncoder(real_processor, real_processor.tokenizer, min_pixels=3136, max_pixels=50_000, cache_bytes=0)


@pytest.fixture(scope="module")
def problems(shared_data):
    return {split: load_problems(f"{shared_data / 'geometry3k'}@{split}") for split in SPLITS}


def test_all_problems_load(problems):
    assert {split: len(some) for split, some in problems.items()} == SPLITS
    for some in problems.values():
        for problem in some:
            assert problem.question.count("<image>") == len(problem.images) == 1
            assert problem.answer.strip() and isinstance(problem.images[0], bytes)


def test_sixty_problems_are_encoded(encoder, problems):
    for some in problems.values():
        chosen = some[:: len(some) // 20][:20]
        for problem, length in zip(chosen, encoder.lengths(chosen), strict=True):
            check_prompt(encoder, problem, length)


def test_overlong_prompts_of_a_real_data_set_are_left_out(encoder, problems, monkeypatch):
    some = problems["validation"]
    lengths = encoder.lengths(some)
    limit = sorted(lengths)[len(lengths) // 2]
    monkeypatch.setattr(encoder, "max_prompt_length", limit)
    kept = [problem.uid for problem in screen(some, encoder, check_images="off")]
    assert kept == [problem.uid for problem, length in zip(some, lengths, strict=True) if length <= limit]
    assert 0 < len(kept) < SPLITS["validation"]


@pytest.mark.slow
def test_every_problem_is_encoded(encoder, problems):
    for some in problems.values():
        for problem, length in zip(some, encoder.lengths(some), strict=True):
            check_prompt(encoder, problem, length)


def test_text_data_sets_of_other_projects_load(shared_data):
    sets = {"math500.jsonl": ("problem", 500), "gsm8k.jsonl": ("question", 1319), "amc23.jsonl": ("question", 40)}
    for name, (key, size) in sets.items():
        problems = load_problems(str(shared_data / "math_eval" / name), prompt_key=key)
        assert len(problems) == size and problems[0].images == ()
