"""The update through EasyR1's own worker gives the gradient of the local engine, however the step is split."""

from __future__ import annotations

import copy
import dataclasses
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from echorl_vl.config import load_config
from echorl_vl.core import EchoConfig, make_splitter
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.sources import load_problems
from echorl_vl.engines.local.advantages import compute_advantages
from echorl_vl.engines.local.optim import make_optimizer
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import training_params
from echorl_vl.engines.local.update import Updater
from echorl_vl.engines.train_batch import mine_clips

REPOSITORY = Path(__file__).resolve().parents[2]
PROMPTS, N, STEPS, COEF = 8, 4, 2, 0.5  # a coefficient large enough that the echo term is no rounding
PROMPT_WIDTH = 64

CASES = [
    {"name": f"{kind}-{batching}-{micro}", "padding_free": kind == "packed", "dynamic_batching": batching == "dynamic",
     "micro": micro, "coef": COEF}
    for kind in ("packed", "padded") for batching in ("dynamic", "fixed") for micro in (2, 4)
]  # fmt: skip
PLAIN = {"padding_free": True, "dynamic_batching": False, "micro": 8}
CASES += [
    {**PLAIN, "name": "shuffled", "coef": COEF, "shuffled": True},
    {**PLAIN, "name": "base", "coef": 0.0},
    {**PLAIN, "name": "echo alone", "coef": COEF, "advantage_scale": 0.0},
]

VARIANTS = {
    "clips": {"echo": {"normalize_by": "clips"}},
    "topk of clips": {"echo": {"select": "topk", "k": 3, "normalize_by": "clips"}},
    "topk": {"echo": {"select": "topk", "k": 3}},
    "entropy bonus": {"entropy_coef": 0.1},
    "entropy bonus alone": {"entropy_coef": 0.1, "coef": 0.0},
    "two epochs": {"epochs": 2},
    "luffy": {"algorithm": "luffy"},
    "luffy seq": {"algorithm": "luffy", "loss_avg_mode": "seq"},
    "luffy with bonus and KL": {"algorithm": "luffy", "entropy_coef": 0.1, "kl_coef": 0.5},
    "luffy alone": {"algorithm": "luffy", "coef": 0.0},
    "srft": {"algorithm": "srft"},
    "dr_grpo": {"algorithm": "dr_grpo", "loss_avg_mode": "constant"},
    "dr_grpo with bonus and KL": {
        "algorithm": "dr_grpo",
        "loss_avg_mode": "constant",
        "entropy_coef": 0.1,
        "kl_coef": 0.5,
    },
    "a group for echo alone": {"aux_only": True},
    "a group for echo alone, row mean, bonus and KL": {
        "aux_only": True,
        "loss_avg_mode": "seq",
        "entropy_coef": 0.1,
        "kl_coef": 0.5,
    },
}
"""Other settings of the update, each with the gradient of the local engine for the same."""

OVERRIDES = [
    "engine=easyr1",
    "trainer.device=cpu",
    "trainer.n_gpus_per_node=1",
    "data.rollout_batch_size=8",
    "worker.actor.global_batch_size=4",
    "worker.rollout.n=4",
    "worker.actor.micro_batch_size_per_device_for_update=8",
    "worker.actor.micro_batch_size_per_device_for_experience=8",
    "worker.actor.max_grad_norm=1e9",
    "worker.actor.model.enable_gradient_checkpointing=false",
    "trainer.max_steps=10",
]


@pytest.fixture(scope="module")
def results(easyr1, problems, tmp_path_factory):
    """Gradients of the local engine, and of EasyR1's worker with one rank and with two."""
    job = tmp_path_factory.mktemp("gradients")
    config_path = REPOSITORY / "configs/geo3k_tiny.yaml"
    config = load_config(config_path, [*OVERRIDES, f"data.val_files={problems['validation']}"])
    policy, train_batch = experience_of(config, problems["train"])
    saved = as_easyr1(policy, train_batch) | {
        "config": str(config_path),
        "overrides": [*OVERRIDES, f"data.val_files={problems['validation']}"],
        "cases": CASES + [variant_case(policy, train_batch, name) for name in VARIANTS],
        "optimizer_steps": STEPS,
        "temperature": config.worker.rollout.temperature,
    }
    torch.save(saved, job / "batch.pt")
    found = {"experience": train_batch, "local": local_gradients(policy, train_batch, config)}
    found["local"] |= {name: variant_gradients(policy, train_batch, config, name) for name in VARIANTS}
    for world in (1, 2):
        run_ranks(job, world)
        ranks = [torch.load(job / f"result_{world}_{rank}.pt", weights_only=False) for rank in range(world)]
        found[world] = ranks[0]
        for case in CASES:
            losses = [rank[case["name"]]["metrics"].get("echo/loss") for rank in ranks]
            found[world][case["name"]]["echo/loss"] = None if losses[0] is None else sum(losses).item() / world
    return found


@pytest.fixture(scope="module")
def text_results(easyr1, text_model, text_problems, tmp_path_factory):
    """The same for a text model, with one rank, and with two that share each sequence (Ulysses)."""
    config_path = REPOSITORY / "configs/geo3k_tiny.yaml"
    overrides = [
        *OVERRIDES,
        f"data.val_files={text_problems}",
        f"worker.actor.model.model_path={text_model}",
        "data.max_response_length=16",
        "echo.splitter=window",
        "echo.splitter_kwargs={size: 4}",
        "echo.include_truncated=true",
    ]
    config = load_config(config_path, overrides)
    policy, train_batch = experience_of(config, text_problems)
    saved = as_easyr1(policy, train_batch) | {
        "config": str(config_path),
        "overrides": overrides,
        "cases": [{**PLAIN, "name": "whole", "coef": COEF}, {**PLAIN, "name": "small", "micro": 2, "coef": COEF}],
        "optimizer_steps": STEPS,
        "temperature": 1.0,
    }
    found = {"local": local_gradients(policy, train_batch, config)}
    for world in (1, 2):
        job = tmp_path_factory.mktemp("text_gradients")
        torch.save(saved | {"ulysses": world}, job / "batch.pt")
        run_ranks(job, world)
        found[world] = [torch.load(job / f"result_{world}_{rank}.pt", weights_only=False) for rank in range(world)]
    return found


def experience_of(config, path: Path):
    torch.manual_seed(0)
    policy = Policy.load(config.worker.actor.model, "cpu")
    encoder = PromptEncoder(policy.processor, policy.tokenizer, min_pixels=12544, max_pixels=12544)
    problems = load_problems(str(path))
    prompts = [encoder.encode(problems[index]) for index in range(PROMPTS)]
    rollouts = generate(policy, prompts, training_params(config), torch.Generator().manual_seed(3))
    right = torch.rand(PROMPTS * N, generator=torch.Generator().manual_seed(4)) < 0.5
    right[:N] = True  # a group that has degenerated
    scores = [{"overall": float(value), "accuracy": float(value)} for value in right]
    train_batch = compute_advantages(dataclasses.replace(rollouts, scores=scores), config)
    train_batch = mine_clips(train_batch, config.echo, make_splitter("newline", policy.tokenizer), step=1)
    train_batch.ref_log_probs = rollouts.log_probs + 0.1 * torch.randn(
        rollouts.log_probs.shape, generator=torch.Generator().manual_seed(5)
    )
    return policy, train_batch


def local_gradients(policy: Policy, train_batch, config) -> dict[str, list[dict]]:
    """Name of the term -> gradients of each optimizer step, of the local engine's own update."""
    config.worker.actor.micro_batch_size_per_device_for_update = PROMPTS * N
    found = {}
    for name, coef, scale in (("whole", COEF, 1.0), ("base", 0.0, 1.0), ("echo", COEF, 0.0)):
        advantages = train_batch.advantages
        train_batch.advantages = advantages * scale
        updater = Updater(policy, make_optimizer(policy.model, config.worker.actor.optim), config, 10)
        gradients: list[dict] = []
        updater.optimizer.step = partial(note_gradients, policy.model, gradients)
        metrics = updater.update(train_batch, coef)
        train_batch.advantages = advantages
        found[name] = {"gradients": gradients, "metrics": metrics}
    return found


def variant_case(policy: Policy, train_batch, name: str) -> dict:
    """The case of a variant for the ranks, with the weights of its own clips."""
    changed = variant_experience(policy, train_batch, name)
    columns = {"token_weights": changed.clips.token_weights, "on_policy": changed.rollouts.is_on_policy}
    if changed.rollouts.aux_only is not None:
        columns["trained"] = ~changed.rollouts.aux_only
    return {**PLAIN, "name": name, "coef": COEF, "micro": 4} | columns | VARIANTS[name]


def variant_experience(policy: Policy, train_batch, name: str):
    """The experience with the clips of a variant, the rows of experts told apart, or the degenerate group kept for
    its clip alone."""
    variant, rollouts = VARIANTS[name], train_batch.rollouts
    if variant.get("algorithm") in ("luffy", "srft"):
        own = torch.arange(PROMPTS * N) % N < N - 1
        sampled = own[:, None] * rollouts.log_probs  # of an expert's row there are none
        rollouts = dataclasses.replace(rollouts, on_policy=own, log_probs=sampled)
    aux_only = torch.arange(PROMPTS * N) < N if variant.get("aux_only") else None
    changed = dataclasses.replace(train_batch, rollouts=dataclasses.replace(rollouts, aux_only=aux_only))
    echo = EchoConfig(**variant.get("echo", {}))
    return mine_clips(changed, echo, make_splitter("newline", policy.tokenizer), step=1)


def variant_gradients(policy: Policy, train_batch, config, name: str) -> dict:
    variant = VARIANTS[name]
    config = copy.deepcopy(config)
    config.echo = EchoConfig(**variant.get("echo", {}))
    config.worker.actor.entropy_coef = variant.get("entropy_coef", 0.0)
    config.worker.actor.ppo_epochs = variant.get("epochs", 1)
    config.worker.actor.loss_avg_mode = variant.get("loss_avg_mode", "token")
    config.algorithm.name, config.algorithm.use_kl_loss = variant.get("algorithm", "grpo"), "kl_coef" in variant
    changed = variant_experience(policy, train_batch, name)
    updater = Updater(policy, make_optimizer(policy.model, config.worker.actor.optim), config, 10)
    gradients: list[dict] = []
    updater.optimizer.step = partial(note_gradients, policy.model, gradients)
    metrics = updater.update(changed, variant.get("coef", COEF), variant.get("kl_coef", 0.0))
    return {"gradients": gradients, "metrics": metrics}


def note_gradients(model: torch.nn.Module, gradients: list[dict]) -> None:
    gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})


def as_easyr1(policy: Policy, train_batch) -> dict:
    """The rollouts in EasyR1's layout: prompts padded on the left, responses on the right, four rows of positions."""
    rollouts = train_batch.rollouts
    width = rollouts.tokens.shape[1]
    rows, inputs = [], []
    for prompt in rollouts.prompts:
        (positions,), following = policy.prompt_positions([prompt])
        length = len(prompt.input_ids)
        padding = PROMPT_WIDTH - length
        text, next_text = torch.arange(length)[None], torch.tensor([length])
        whole, next_whole = (text[0], next_text) if len(positions) == 1 else (
            torch.cat([text, positions]), torch.cat([next_text, following.expand(3)])[:, None]
        )  # fmt: skip
        after = next_whole + torch.arange(width)
        rows.append(
            {
                "prompts": torch.nn.functional.pad(prompt.input_ids, (padding, 0), value=policy.pad_id),
                "mask": torch.nn.functional.pad(torch.ones(length, dtype=torch.long), (padding, 0)),
                "positions": torch.cat([torch.nn.functional.pad(whole, (padding, 0)), after], -1),
            }
        )
        if prompt.pixel_values is not None:
            inputs += [{"pixel_values": prompt.pixel_values, "image_grid_thw": prompt.image_grid_thw}] * N

    def repeated(name: str) -> torch.Tensor:
        return torch.stack([row[name] for row in rows]).repeat_interleave(N, 0)

    mask = rollouts.response_mask.long()
    tensors = {
        "input_ids": torch.cat([repeated("prompts"), rollouts.tokens], 1),
        "attention_mask": torch.cat([repeated("mask"), mask], 1),
        "position_ids": repeated("positions"),
        "responses": rollouts.tokens,
        "response_mask": mask,
        "old_log_probs": rollouts.log_probs,
        "advantages": train_batch.advantages * mask,
        "ref_log_probs": train_batch.ref_log_probs,
        "token_weights": train_batch.clips.token_weights,
        "verified": train_batch.verified,
    }
    return {"tensors": tensors, "multi_modal_inputs": inputs}


def run_ranks(job: Path, world: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = str(Path(__file__).with_name("ranks.py"))
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(job), str(rank), str(world), port],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output[-3000:]


def difference(found: list[dict], expected: list[dict]) -> float:
    """Largest norm of the difference, over the norm of what was expected, over the optimizer steps."""
    assert len(found) == len(expected) and len(found) % STEPS == 0
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        names = sorted(other)
        assert set(one) >= set(names)
        flat = [torch.cat([gradients[name].flatten() for name in names]) for gradients in (one, other)]
        worst = max(worst, ((flat[0] - flat[1]).norm() / flat[1].norm()).item())
    return worst


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("case", [case["name"] for case in CASES if case["coef"] and "advantage_scale" not in case])
def test_gradient_is_that_of_the_embedded_engine_under_every_split(results, world, case):
    assert difference(results[world][case]["gradients"], results["local"]["whole"]["gradients"]) < 1e-5


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_other_settings_give_the_embedded_engine_s_gradient_too(results, world, name):
    found, expected = results[world][name], results["local"][name]
    assert difference(found["gradients"], expected["gradients"]) < 1e-5
    plain = results["local"]["whole"]["gradients"]
    assert len(found["gradients"]) != STEPS or difference(plain, expected["gradients"]) > 1e-3


@pytest.mark.parametrize("world", [1, 2])
def test_echo_gradient_and_loss_alone(results, world):
    found = results[world]["echo alone"]
    expected = results["local"]["echo"]
    assert difference(found["gradients"], expected["gradients"]) < 1e-5
    assert found["echo/loss"] == pytest.approx(expected["metrics"]["echo/loss"], rel=1e-5)
    norm = torch.cat([value.flatten() for value in found["gradients"][0].values()]).norm()
    assert norm > 1e-3


@pytest.mark.parametrize("world", [1, 2])
def test_without_a_coefficient_the_gradient_is_the_base_algorithm_s(results, world):
    assert difference(results[world]["base"]["gradients"], results["local"]["base"]["gradients"]) < 1e-5
    assert difference(results["local"]["whole"]["gradients"], results["local"]["base"]["gradients"]) > 1e-2


@pytest.mark.parametrize("case", ["whole", "small"])
@pytest.mark.parametrize("world", [1, 2])
def test_ranks_that_share_sequences_give_the_same_gradient(text_results, world, case):
    """Ulysses: two ranks hold the same rows and half of each sequence."""
    results, expected = text_results[world], text_results["local"]["whole"]
    for rank in results:
        assert difference(rank[case]["gradients"], expected["gradients"]) < 1e-5
    losses = [rank[case]["metrics"]["echo/loss"].item() for rank in results]
    assert sum(losses) / world == pytest.approx(expected["metrics"]["echo/loss"], rel=1e-5)


def test_policy_loss_is_logged_without_the_echo_term(results):
    one = results[1]
    torch.testing.assert_close(one["packed-fixed-4"]["metrics"]["actor/pg_loss"],
                               one["padded-fixed-4"]["metrics"]["actor/pg_loss"], rtol=1e-4, atol=1e-6)  # fmt: skip
    assert abs(one["echo alone"]["metrics"]["actor/pg_loss"]).max() == 0.0


def test_entropies_of_the_old_log_prob_pass_are_those_of_sampling(results):
    rollouts = results["experience"].rollouts
    for case in ("packed-fixed-4", "padded-dynamic-2"):
        found = results[1][case]
        inside = rollouts.response_mask
        torch.testing.assert_close(found["entropies"][inside], rollouts.entropy[inside], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found["log_probs"][inside], rollouts.log_probs[inside], atol=1e-4, rtol=1e-4)
