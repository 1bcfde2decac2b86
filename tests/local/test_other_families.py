"""Other model families than Qwen2.5-VL: the same numbers as transformers, and two steps of training."""

from __future__ import annotations

import json
from pathlib import Path

import other_families
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoProcessor

from echorl_vl import train
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.engines.local.architecture import check_architecture
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.models import FAMILIES, family_of
from echorl_vl.types import Problem, RolloutBatch

pytestmark = pytest.mark.skipif(
    transformers.__version__.startswith("4."), reason="the families here are written for transformers 5"
)
REPOSITORY = Path(__file__).resolve().parents[2]
TEMPERATURE = 0.8
REWARD = """
def score(reward_inputs):
    return [{"overall": len(r["response"]) % 5, "accuracy": float(len(r["response"]) % 2)} for r in reward_inputs]
"""


@pytest.fixture(params=other_families.CASES)
def case(request):
    """Registers the family of the documentation during a test, instead of others for the same models."""
    made, before = other_families.CASES[request.param], dict(FAMILIES)
    if made.family is not None:
        for name, family in before.items():
            if name == made.family or request.param in family.model_types:
                del FAMILIES[name]
        made.define()
    yield made
    FAMILIES.clear()
    FAMILIES.update(before)


@pytest.fixture
def policy(case) -> Policy:
    processor = case.processor()
    made = Policy(case.model(), processor.tokenizer, processor)
    check_architecture(made)
    return made


def noise(width: int, height: int, seed: int) -> Image.Image:
    pixels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.byte().numpy())


@pytest.fixture
def batch(policy) -> RolloutBatch:
    """Rows of different lengths, for prompts with none, one and two images; two prompts share an image."""
    encoder = PromptEncoder(policy.processor, policy.tokenizer, family=policy.family)
    one, other = noise(64, 40, 1), noise(70, 90, 2)
    asked = [("<image>area?", (one,)), ("two: <image>, <image>", (other, one)), ("text", ())]
    problems = [Problem(f"set:{row}", text, "5", images) for row, (text, images) in enumerate(asked)]
    prompts = [encoder.encode(problem) for problem in problems]
    assert [len(prompt) for prompt in prompts] == encoder.lengths(problems)
    params = SamplingParams(n=3, temperature=TEMPERATURE, max_tokens=8, ignore_eos=True)
    made = generate(policy, prompts, params, torch.Generator().manual_seed(0))
    made.response_mask = torch.arange(8) < (1 + torch.arange(9) * 5 % 8)[:, None]
    return made


def plain(policy: Policy, batch: RolloutBatch) -> Tensor:
    """(B, T) log-probs by transformers' own forward pass over one row at a time."""
    rows = []
    for tokens, mask, group in zip(batch.tokens, batch.response_mask, batch.group_ids.tolist(), strict=True):
        prompt = batch.prompts[group]
        ids = torch.cat([prompt.input_ids, tokens])[None]
        inputs = policy.family.forward_inputs(policy.network, ids, [prompt])
        logits = policy.network(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **inputs).logits
        log_p = torch.log_softmax(logits[0, len(prompt) - 1 : -1].float() / TEMPERATURE, -1)
        rows.append(log_p.gather(-1, tokens[:, None])[:, 0] * mask)
    return torch.stack(rows)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_log_probs_and_gradients_equal_those_of_transformers(policy, batch, packed):
    weights = torch.randn(batch.tokens.shape, generator=torch.Generator().manual_seed(1))
    named = dict(policy.model.named_parameters())
    found = []
    for values in (policy.response_log_probs(batch, slice(None), TEMPERATURE, packed=packed)[0], plain(policy, batch)):
        gradients = torch.autograd.grad((weights * values).sum(), list(named.values()), allow_unused=True)
        found.append((values, dict(zip(named, gradients, strict=True))))
    (ours, own), (theirs, expected) = found
    assert torch.allclose(ours, theirs, atol=1e-5), float((ours - theirs).abs().max())
    assert any(policy.family.tower in name and bool(g.any()) for name, g in own.items() if g is not None)
    for name, gradient in expected.items():
        if gradient is not None:
            scale = max(1.0, float(gradient.abs().max()))
            assert torch.allclose(own[name], gradient, atol=1e-5 * scale), name


def test_rollouts_record_the_same_log_probs_and_encode_each_image_once(policy, batch):
    assert (policy.vision_calls, policy.vision_images) == (1, 2)
    assert not policy.visual.mask(batch.tokens).any()
    recorded = batch.log_probs * batch.response_mask
    with torch.no_grad():
        assert torch.allclose(policy.response_log_probs(batch, slice(None), TEMPERATURE)[0], recorded, atol=1e-5)


@pytest.mark.slow
def test_two_steps_of_training_on_images(case, tmp_path):
    model = case.save(tmp_path / "model")
    for seed in range(4):
        noise(40 + 10 * seed, 50, seed).save(tmp_path / f"{seed}.png")
    rows = [{"problem": f"<image>What is {n}?", "answer": "5", "images": [f"{n % 4}.png"]} for n in range(8)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "reward.py").write_text(REWARD)
    settings = {
        "data.train_files": tmp_path / "train.jsonl",
        "data.val_files": "''",
        "data.min_pixels": 1024,
        "data.max_pixels": 4096,
        "data.rollout_batch_size": 4,
        "data.max_response_length": 12,
        "worker.rollout.n": 4,
        "worker.actor.global_batch_size": 4,
        "worker.actor.model.model_path": model,
        "worker.actor.optim.lr": 0.01,
        "worker.reward.reward_function": f"{tmp_path / 'reward.py'}:score",
        "trainer.max_steps": 2,
        "trainer.val_freq": -1,
        "trainer.val_before_train": "false",
        "trainer.logger": "[file]",
        "trainer.save_checkpoint_path": tmp_path / "run",
    }
    assert train.main([f"{REPOSITORY}/configs/geo3k_tiny.yaml", *(f"{k}={v}" for k, v in settings.items())]) == 0
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [1, 2]
    assert all(row["actor/grad_norm"] > 0 for row in metrics)
    saved = tmp_path / "run" / "global_step_2" / "actor" / "huggingface"
    before, after = (load_file(folder / "model.safetensors") for folder in (model, saved))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    tower = family_of(AutoConfig.from_pretrained(saved)).tower
    assert any(tower in f".{name}" for name in changed)
    assert type(AutoProcessor.from_pretrained(saved)) is type(case.processor())
