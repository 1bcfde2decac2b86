"""The local engine on a GPU: the same numbers as on a CPU, and whole runs. Skipped without a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from echorl_vl import train
from echorl_vl.config import load_config
from echorl_vl.engines.local.context import load_set, make_encoder
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.generators.geometry3k.generate import load_split

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = [
    "data.rollout_batch_size=8",
    "data.val_files=''",
    "worker.actor.global_batch_size=4",
    "trainer.max_steps=4",
    "trainer.val_freq=-1",
    "trainer.val_before_train=false",
    "trainer.save_freq=2",
    "trainer.logger=[file]",
    "trainer.device=cuda",
]


@pytest.fixture(scope="module", params=["geo3k_tiny", "math_tiny"])
def config(request):
    return load_config(REPOSITORY / f"configs/{request.param}.yaml")


@pytest.fixture(scope="module")
def prompts(config):
    policy = Policy.load(config.worker.actor.model, "cpu")
    encoder = make_encoder(config, policy.tokenizer, policy.processor)
    problems = load_set(config, config.data.val_files)
    return [encoder.encode(problems[index]) for index in range(4)]


def load(config, device: str, **dtypes) -> Policy:
    return Policy.load(config.worker.actor.model, device, **dtypes)


def test_gpu_and_cpu_give_the_same_numbers_in_float32(config, prompts, monkeypatch) -> None:
    """Log-probs, entropies and gradients of a batch. By default convolutions are in TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    params = SamplingParams(n=4, max_tokens=48)
    on_gpu, on_cpu = load(config, "cuda", compute_dtype="fp32"), load(config, "cpu")
    batch = generate(on_gpu, prompts, params, torch.Generator().manual_seed(0))
    gradients, values = [], []
    for policy in (on_gpu, on_cpu):
        log_probs, entropy = policy.response_log_probs(batch, slice(None), 1.0, with_grad_entropy=True)
        (log_probs.sum() + entropy.sum()).backward()
        values.append((log_probs.detach().cpu(), entropy.detach().cpu()))
        gradients.append({name: p.grad.cpu() for name, p in policy.model.named_parameters() if p.grad is not None})
    for one, other in zip(*values, strict=True):
        assert torch.allclose(one, other, atol=1e-4), float((one - other).abs().max())
    assert torch.allclose(batch.log_probs.cpu(), values[1][0], atol=1e-4)
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[1].items():
        scale = max(1.0, float(expected.abs().max()))
        assert torch.allclose(gradients[0][name], expected, atol=2e-4 * scale), name


def test_rollout_and_update_agree_in_bfloat16(config, prompts) -> None:
    """By default matrix products are in bfloat16, logits and entropies in float32."""
    policy = load(config, "cuda")
    assert policy.compute_dtype == torch.bfloat16
    assert next(policy.model.parameters()).dtype == torch.float32
    batch = generate(policy, prompts, SamplingParams(n=8, max_tokens=48), torch.Generator().manual_seed(0))
    with torch.no_grad():
        log_probs, entropy = policy.response_log_probs(batch, slice(None), 1.0)
    mask = batch.response_mask.to(log_probs.device)
    assert (log_probs - batch.log_probs.to(log_probs.device))[mask].abs().mean() < 0.02
    assert (entropy - batch.entropy.to(entropy.device))[mask].abs().mean() < 0.02


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["worker.actor.fsdp.mp_param_dtype=fp32"],
        ["worker.actor.model.lora.rank=8", "worker.actor.optim.lr=1e-3"],
        ["algorithm.disable_kl=false", "algorithm.use_kl_loss=true", "algorithm.kl_coef=0.01"],
        ["worker.actor.model.enable_gradient_checkpointing=true"],
    ],
    ids=["default", "fp32", "lora", "kl", "checkpointing"],
)
def test_runs_learn_and_resume(tmp_path, changes) -> None:
    """Trains four steps, then resumes the run from its second step."""
    load_split("train").select(range(64)).to_parquet(tmp_path / "train.parquet")
    arguments = [str(REPOSITORY / "configs/geo3k_tiny.yaml"), *SMALL, f"data.train_files={tmp_path}/train.parquet"]
    arguments += [f"trainer.save_checkpoint_path={tmp_path}/run", *changes]
    assert train.main(arguments) == 0
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(row["actor/grad_norm"] > 0 and row["actor/skipped_steps"] == 0 for row in rows)
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    assert environment["device"].startswith("cuda")

    for path in (tmp_path / "run/summary.json", tmp_path / "run/global_step_4"):
        path.rename(tmp_path / path.name)  # as after a kill in the third step
    assert train.main(arguments) == 0
    again = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in again] == [1, 2, 3, 4] and again[:2] == rows[:2]
    assert all(row["actor/skipped_steps"] == 0 for row in again)
