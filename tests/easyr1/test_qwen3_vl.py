"""Qwen3-VL on EasyR1, whose forward pass and position ids for this family are its own.

Its image features also enter the first layers of the decoder.
"""

from __future__ import annotations

import pytest
import torch
from dry_run_process import in_dry_run
from qwen3_vl import save_qwen3_vl
from ray_runs import COEF, RECIPE, STEPS, check_clips, difference, run_ranks
from test_easyr1_runs import questions
from test_gradients import OVERRIDES, PLAIN, RANKS, as_easyr1, gradients_of_terms, mined_rollouts

from echorl_vl.config import load_config

WINDOWS = ["echo.splitter=window", "echo.splitter_kwargs={size: 4}", "echo.include_truncated=true"]
"""Steps and clips of a model with random weights, which writes few lines and seldom ends."""

REWARD = """
from zlib import crc32

def compute_score(rows):
    values = [float(crc32(row["response"].encode()) % 2) for row in rows]
    return [{"overall": value, "accuracy": value} for value in values]
"""

POSITIONS = """
import torch
from PIL import Image
from verl.models.transformers.qwen3_vl import get_rope_index
from echorl_vl.config import ModelConfig
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.engines.easyr1.worker import EchoWorkerMixin
from echorl_vl.engines.local.policy import Policy
from echorl_vl.types import Problem

policy = Policy.load(ModelConfig(model_path={model!r}), "cpu")
images = (Image.new("RGB", (64, 96)), Image.new("RGB", (160, 64)))
prompt = PromptEncoder(policy.processor, policy.tokenizer).encode(Problem("p", "<image> or <image>?", "1", images))
(ours,), _ = policy.prompt_positions([prompt])
theirs = get_rope_index(policy.processor, prompt.input_ids, prompt.image_grid_thw)
assert prompt.image_grid_thw.tolist() == [[1, 6, 4], [1, 4, 10]] and torch.equal(ours, theirs)

worker = EchoWorkerMixin.__new__(EchoWorkerMixin)
worker.model_config, worker.tokenizer = policy.config, policy.tokenizer
forbidden = policy.tokenizer.convert_ids_to_tokens(sorted(worker._logit_bias(policy.processor)))
print(" ".join(sorted(forbidden)))
"""


@pytest.fixture(scope="module")
def qwen3_vl(easyr1, tmp_path_factory):
    return save_qwen3_vl(tmp_path_factory.mktemp("qwen3_vl"))


@pytest.fixture(scope="module")
def gradients(qwen3_vl, problems, tmp_path_factory):
    """(rollouts, the local engine's update, EasyR1's updates by case)."""
    job = tmp_path_factory.mktemp("gradients")
    overrides = [*OVERRIDES, f"data.val_files={problems['validation']}", f"worker.actor.model.model_path={qwen3_vl}",
                 *WINDOWS, "data.max_response_length=16"]  # fmt: skip
    config = load_config(RECIPE, overrides)
    policy, train_batch = mined_rollouts(config, problems["train"])
    cases = [{**PLAIN, "name": "packed", "micro": 4}, {**PLAIN, "name": "padded", "padding_free": False}]
    saved = as_easyr1(policy, train_batch) | {
        "config": str(RECIPE),
        "overrides": overrides,
        "cases": [case | {"coef": COEF} for case in cases],
        "optimizer_steps": STEPS,
        "temperature": 1.0,
    }
    torch.save(saved, job / "batch.pt")
    local = gradients_of_terms(policy, train_batch, config)["whole"]
    return train_batch.rollouts, local, run_ranks(RANKS, job, 1)[0]


@pytest.mark.parametrize("case", ["packed", "padded"])
def test_update_gives_the_gradient_of_the_local_engine(gradients, case):
    rollouts, local, found = gradients
    assert difference(found[case]["gradients"], local["gradients"]) < 1e-5
    assert all(gradient.norm() > 0 for name, gradient in local["gradients"][0].items() if "deepstack" in name)
    assert local["metrics"]["echo/loss"] > 0
    inside = rollouts.response_mask
    torch.testing.assert_close(found[case]["log_probs"][inside], rollouts.log_probs[inside], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[case]["entropies"][inside], rollouts.entropy[inside], atol=1e-4, rtol=1e-4)


def test_positions_equal_easyr1_s_and_visual_tokens_are_forbidden(qwen3_vl):
    names = ("image_pad", "video_pad", "vision_end", "vision_pad", "vision_start")
    assert in_dry_run(POSITIONS.format(model=str(qwen3_vl))) == " ".join(f"<|{name}|>" for name in names)


@pytest.mark.slow
def test_dry_run_trains_on_images(dry_run, qwen3_vl, problems, tmp_path):
    (tmp_path / "reward.py").write_text(REWARD)
    run = dry_run(
        *WINDOWS,
        f"worker.actor.model.model_path={qwen3_vl}",
        f"worker.reward.reward_function={tmp_path / 'reward.py'}:compute_score",
        "worker.actor.optim.lr=0.01",
    )
    assert run.status == 0, run.output[-3000:]
    rows = check_clips(run, questions(problems["train"]))
    assert sum(row["picture"] is not None for row in rows) == 4
    for row in run.training:
        assert row["echo/clips"] > 0 and row["echo/loss"] > 0 and row["actor/grad_norm"] > 0
    before, after = (row["actor/entropy"] for row in run.training)
    assert before != pytest.approx(after, abs=1e-3)  # sampling has the new weights
