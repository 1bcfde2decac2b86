"""The shipped policy: size, accuracy, and use of the image."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from echorl_vl.answers.grading import grade
from echorl_vl.config import ModelConfig
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.sources import load_problems
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.tiny.build import MODEL_FOLDER

PROBLEMS, N = 80, 4


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load(ModelConfig(model_path=str(MODEL_FOLDER), enable_gradient_checkpointing=False))


@pytest.fixture(scope="module")
def prompts(policy: Policy):
    problems = load_problems("generated/geometry3k@test")
    encoder = PromptEncoder(policy.processor, policy.tokenizer, min_pixels=12544, max_pixels=12544)
    return [encoder.encode(problem) for problem in problems[:PROBLEMS]]


def responses(policy: Policy, prompts) -> list[str]:
    params = SamplingParams(n=N, temperature=1.0, max_tokens=96)
    return generate(policy, prompts, params, torch.Generator().manual_seed(0)).texts


def accuracy(texts: list[str], prompts) -> float:
    correct = [grade(text, prompts[row // N].problem.answer) for row, text in enumerate(texts)]
    return sum(correct) / len(correct)


@pytest.fixture(scope="module")
def texts(policy: Policy, prompts) -> list[str]:
    return responses(policy, prompts)


def test_it_is_small(policy: Policy) -> None:
    assert sum(p.numel() for p in policy.model.parameters()) <= 3_000_000
    assert (MODEL_FOLDER / "model.safetensors").stat().st_size <= 8_000_000


def test_its_accuracy_leaves_room_for_reinforcement_learning(texts, prompts) -> None:
    assert 0.35 <= accuracy(texts, prompts) <= 0.60


def test_it_reads_the_numbers_in_the_image(texts, prompts) -> None:
    read = [
        re.findall(r"\d+", text.split("\n")[0]) == [str(n) for n in prompts[row // N].problem.extra["numbers"]]
        for row, text in enumerate(texts)
    ]
    assert sum(read) / len(read) > 0.8


@pytest.mark.parametrize("change", ["blanked", "swapped"])
def test_without_the_image_accuracy_falls_to_chance(change: str, policy: Policy, texts, prompts) -> None:
    """Chance is the accuracy of the answers to other problems."""
    if change == "blanked":
        changed = [replace(prompt, pixel_values=torch.zeros_like(prompt.pixel_values)) for prompt in prompts]
    else:
        images = [prompt.pixel_values for prompt in prompts[1:] + prompts[:1]]
        changed = [replace(prompt, pixel_values=pixels) for prompt, pixels in zip(prompts, images, strict=True)]
    chance = accuracy(texts[N:] + texts[:N], prompts)
    assert accuracy(responses(policy, changed), prompts) < chance + 0.05
    assert accuracy(texts, prompts) > chance + 0.25
