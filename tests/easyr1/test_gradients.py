"""The update of EasyR1's worker gives the gradient of the local engine for any split of the step."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from ray_runs import COEF, PROMPTS, RECIPE, STEPS, N, difference, graded_rollouts, local_gradients, run_ranks

from echorl_vl.config import load_config
from echorl_vl.core import EchoConfig, make_splitter
from echorl_vl.engines.train_batch import mine_clips

RANKS = Path(__file__).with_name("ranks.py")
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
"""Other settings of the update, compared with the local engine."""

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
    """Gradients of the local engine, and of EasyR1's worker with one and two ranks."""
    job = tmp_path_factory.mktemp("gradients")
    config = load_config(RECIPE, [*OVERRIDES, f"data.val_files={problems['validation']}"])
    policy, train_batch = mined_rollouts(config, problems["train"])
    saved = as_easyr1(policy, train_batch) | {
        "config": str(RECIPE),
        "overrides": [*OVERRIDES, f"data.val_files={problems['validation']}"],
        "cases": CASES + [variant_case(policy, train_batch, name) for name in VARIANTS],
        "optimizer_steps": STEPS,
        "temperature": config.worker.rollout.temperature,
    }
    torch.save(saved, job / "batch.pt")
    found = {"rollouts": train_batch.rollouts, "local": gradients_of_terms(policy, train_batch, config)}
    found["local"] |= {name: variant_gradients(policy, train_batch, config, name) for name in VARIANTS}
    for world in (1, 2):
        ranks = run_ranks(RANKS, job, world)
        found[world] = ranks[0]
        for case in CASES:
            losses = [rank[case["name"]]["metrics"].get("echo/loss") for rank in ranks]
            found[world][case["name"]]["echo/loss"] = None if losses[0] is None else sum(losses).item() / world
    return found


@pytest.fixture(scope="module")
def text_results(easyr1, text_model, text_problems, tmp_path_factory):
    """The same for a text model with one rank, and with two ranks that share each sequence (Ulysses)."""
    overrides = [
        *OVERRIDES,
        f"data.val_files={text_problems}",
        f"worker.actor.model.model_path={text_model}",
        "data.max_response_length=16",
        "echo.splitter=window",
        "echo.splitter_kwargs={size: 4}",
        "echo.include_truncated=true",
    ]
    config = load_config(RECIPE, overrides)
    policy, train_batch = mined_rollouts(config, text_problems)
    saved = as_easyr1(policy, train_batch) | {
        "config": str(RECIPE),
        "overrides": overrides,
        "cases": [{**PLAIN, "name": "whole", "coef": COEF}, {**PLAIN, "name": "small", "micro": 2, "coef": COEF}],
        "optimizer_steps": STEPS,
        "temperature": 1.0,
    }
    found = {"local": gradients_of_terms(policy, train_batch, config)}
    for world in (1, 2):
        job = tmp_path_factory.mktemp("text_gradients")
        torch.save(saved | {"ulysses": world}, job / "batch.pt")
        found[world] = run_ranks(RANKS, job, world)
    return found


def mined_rollouts(config, path: Path):
    policy, train_batch = graded_rollouts(config, path)
    return policy, mine_clips(train_batch, config.echo, make_splitter("newline", policy.tokenizer), step=1)


def gradients_of_terms(policy, train_batch, config) -> dict[str, dict]:
    """Name of the term -> gradients and metrics of the local engine's update."""
    config.worker.actor.micro_batch_size_per_device_for_update = PROMPTS * N
    found = {}
    for name, coef, scale in (("whole", COEF, 1.0), ("base", 0.0, 1.0), ("echo", COEF, 0.0)):
        changed = dataclasses.replace(train_batch, advantages=train_batch.advantages * scale)
        found[name] = local_gradients(policy, changed, config, coef)
    return found


def columns_of(train_batch) -> dict[str, torch.Tensor]:
    """The columns that the driver adds to a batch."""
    columns = {
        "token_weights": train_batch.clips.token_weights,
        "echo_clips": train_batch.clips.per_row,
        "on_policy": train_batch.rollouts.is_on_policy,
    }
    aux_only = train_batch.rollouts.aux_only
    return columns if aux_only is None else columns | {"aux_only": aux_only}


def variant_case(policy, train_batch, name: str) -> dict:
    """The case of a variant for the ranks, with its own clips."""
    columns = columns_of(variant_batch(policy, train_batch, name))
    return {**PLAIN, "name": name, "coef": COEF, "micro": 4, "columns": columns} | VARIANTS[name]


def variant_batch(policy, train_batch, name: str):
    """The batch with the clips of a variant, and its demonstrations or a degenerate group for the echo term only."""
    variant, rollouts = VARIANTS[name], train_batch.rollouts
    if variant.get("algorithm") in ("luffy", "srft"):
        own = torch.arange(PROMPTS * N) % N < N - 1
        sampled = own[:, None] * rollouts.log_probs  # demonstrations have none
        rollouts = dataclasses.replace(rollouts, on_policy=own, log_probs=sampled)
    aux_only = torch.arange(PROMPTS * N) < N if variant.get("aux_only") else None
    changed = dataclasses.replace(train_batch, rollouts=dataclasses.replace(rollouts, aux_only=aux_only))
    echo = EchoConfig(**variant.get("echo", {}))
    return mine_clips(changed, echo, make_splitter("newline", policy.tokenizer), step=1)


def variant_gradients(policy, train_batch, config, name: str) -> dict:
    variant = VARIANTS[name]
    config = copy.deepcopy(config)
    config.echo = EchoConfig(**variant.get("echo", {}))
    config.worker.actor.entropy_coef = variant.get("entropy_coef", 0.0)
    config.worker.actor.ppo_epochs = variant.get("epochs", 1)
    config.worker.actor.loss_avg_mode = variant.get("loss_avg_mode", "token")
    config.algorithm.name, config.algorithm.use_kl_loss = variant.get("algorithm", "grpo"), "kl_coef" in variant
    changed = variant_batch(policy, train_batch, name)
    return local_gradients(policy, changed, config, variant.get("coef", COEF), variant.get("kl_coef", 0.0))


def as_easyr1(policy, train_batch) -> dict:
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
        "echo_clips": train_batch.clips.per_row,
        "verified": train_batch.verified,
    }
    return {"tensors": tensors, "multi_modal_inputs": inputs}


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("case", [case["name"] for case in CASES if case["coef"] and "advantage_scale" not in case])
def test_gradient_equals_the_local_engine_s_for_every_split(results, world, case):
    assert difference(results[world][case]["gradients"], results["local"]["whole"]["gradients"]) < 1e-5


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_gradient_equals_the_local_engine_s_for_other_settings(results, world, name):
    found, expected = results[world][name], results["local"][name]
    assert difference(found["gradients"], expected["gradients"]) < 1e-5
    plain = results["local"]["whole"]["gradients"]
    assert len(found["gradients"]) != STEPS or difference(plain, expected["gradients"]) > 1e-3


@pytest.mark.parametrize("world", [1, 2])
def test_gradient_and_loss_of_the_echo_term(results, world):
    found = results[world]["echo alone"]
    expected = results["local"]["echo"]
    assert difference(found["gradients"], expected["gradients"]) < 1e-5
    assert found["echo/loss"] == pytest.approx(expected["metrics"]["echo/loss"], rel=1e-5)
    norm = torch.cat([value.flatten() for value in found["gradients"][0].values()]).norm()
    assert norm > 1e-3


@pytest.mark.parametrize("world", [1, 2])
def test_without_coefficient_the_gradient_is_the_base_algorithm_s(results, world):
    assert difference(results[world]["base"]["gradients"], results["local"]["base"]["gradients"]) < 1e-5
    assert difference(results["local"]["whole"]["gradients"], results["local"]["base"]["gradients"]) > 1e-2


@pytest.mark.parametrize("case", ["whole", "small"])
@pytest.mark.parametrize("world", [1, 2])
def test_ranks_that_share_sequences_give_the_same_gradient(text_results, world, case):
    """With Ulysses, two ranks have the same rows and half of each sequence."""
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


def test_entropies_of_the_old_log_prob_pass_equal_those_of_sampling(results):
    rollouts = results["rollouts"]
    for case in ("packed-fixed-4", "padded-dynamic-2"):
        found = results[1][case]
        inside = rollouts.response_mask
        torch.testing.assert_close(found["entropies"][inside], rollouts.entropy[inside], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found["log_probs"][inside], rollouts.log_probs[inside], atol=1e-4, rtol=1e-4)
