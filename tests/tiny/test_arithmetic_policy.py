"""The shipped text policy: size, accuracy, arithmetic, entropy of steps, and training."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch

from echorl_vl import train
from echorl_vl.answers.grading import grade
from echorl_vl.config import ModelConfig
from echorl_vl.core.splitters import NewlineSplitter
from echorl_vl.core.steps import step_ids
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.sources import load_problems
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.outputs.tracker import read_metrics
from echorl_vl.tiny.arithmetic.build import MODEL_FOLDER, model_config
from echorl_vl.tiny.arithmetic.warmstart import CORRECT_SHARE, Schedule

REPOSITORY = Path(__file__).resolve().parents[2]
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
PROBLEMS, N = 150, 4


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load(ModelConfig(model_path=str(MODEL_FOLDER), enable_gradient_checkpointing=False))


@pytest.fixture(scope="module")
def prompts(policy: Policy):
    problems = load_problems("generated/arithmetic@test")
    encoder = PromptEncoder(policy.processor, policy.tokenizer)
    return [encoder.encode(problem) for problem in problems[:PROBLEMS]]


@pytest.fixture(scope="module")
def rollouts(policy: Policy, prompts):
    return generate(policy, prompts, SamplingParams(n=N, temperature=1.0, max_tokens=72), torch.manual_seed(0))


def is_sound(text: str) -> bool:
    """Whether the text has equations and all of them are true."""
    true = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
    equations = [(int(a), sign, int(b), int(result)) for a, sign, b, result in EQUATION.findall(text)]
    # a / b = c is checked as b * c = a, to avoid a division by 0.
    checked = [b * c == a and b > 0 if sign == "/" else true[sign](a, b) == c for a, sign, b, c in equations]
    return bool(checked) and all(checked)


def test_the_text_policy_is_small(policy: Policy) -> None:
    assert sum(p.numel() for p in policy.model.parameters()) <= 950_000
    assert (MODEL_FOLDER / "model.safetensors").stat().st_size <= 4_000_000


def test_its_accuracy_leaves_room_for_reinforcement_learning(rollouts, prompts) -> None:
    correct = [grade(text, prompts[row // N].problem.answer) for row, text in enumerate(rollouts.texts)]
    assert 0.35 <= sum(correct) / len(correct) <= 0.60


def test_its_arithmetic_is_nearly_always_correct(rollouts) -> None:
    assert sum(map(is_sound, rollouts.texts)) / len(rollouts.texts) >= 0.95


def test_its_entropy_peaks_at_the_choice_of_the_approach(policy: Policy, rollouts) -> None:
    """The first step names the approach."""
    steps = step_ids(rollouts.tokens, rollouts.text_mask, NewlineSplitter(policy.tokenizer))
    means = [
        [rollouts.entropy[row][steps[row] == number].mean() for number in range(int(steps[row].max()) + 1)]
        for row in range(len(steps))
    ]
    first = sum(max(range(len(row)), key=row.__getitem__) == 0 for row in means)
    assert first / len(means) >= 0.8


def test_its_files_match_the_recipe(policy: Policy) -> None:
    recipe = json.loads((MODEL_FOLDER / "recipe.json").read_text())
    assert recipe["correct_share"] == CORRECT_SHARE
    assert {key: recipe[key] for key in vars(Schedule())} == vars(Schedule())
    written = json.loads((MODEL_FOLDER / "config.json").read_text())
    assert written == model_config(policy.tokenizer.backend_tokenizer)


@pytest.mark.slow
def test_math_tiny_trains_a_few_steps(tmp_path) -> None:
    keys = ["trainer.max_steps=2", "data.val_files=''", "trainer.val_freq=-1", "trainer.val_before_train=false"]
    keys += ["trainer.save_freq=-1", "trainer.logger=[console, file]", f"trainer.save_checkpoint_path={tmp_path}/run"]
    assert train.main([str(REPOSITORY / "configs/math_tiny.yaml"), *keys]) == 0
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert row["echo/clips"] > 0 and row["actor/grad_norm"] > 0
        assert math.isfinite(row["echo/loss"]) and 0 < row["reward/accuracy"] < 1


@pytest.mark.slow
def test_training_raises_its_accuracy(tmp_path) -> None:
    keys = ["trainer.save_freq=-1", "trainer.logger=[console, file]", f"trainer.save_checkpoint_path={tmp_path}/run"]
    assert train.main([str(REPOSITORY / "configs/math_tiny.yaml"), *keys]) == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["val/accuracy_after"] > summary["val/accuracy_before"] + 0.2
    assert summary["group/all_success_last"] > summary["group/all_success_first"]
