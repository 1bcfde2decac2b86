"""The update of verl's worker gives the gradient of the local engine for any split of the step."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from ray_runs import COEF, PROMPTS, RECIPE, STEPS, N, difference, graded_rollouts, local_gradients, run_ranks

from echorl_vl.config import load_config
from echorl_vl.core import EchoConfig, make_splitter
from echorl_vl.engines.ray.adjusted import set_value
from echorl_vl.engines.train_batch import mine_clips

RANKS = Path(__file__).with_name("verl_ranks.py")

CASES = [
    {"name": f"{kind}-{batching}-{micro}", "padded": kind == "padded", "dynamic": batching == "dynamic",
     "micro": micro, "coef": COEF}
    for kind in ("packed", "padded") for batching in ("dynamic", "fixed") for micro in (2, 4)
]  # fmt: skip
PLAIN = {"padded": False, "dynamic": False, "micro": 8}
CASES += [
    {**PLAIN, "name": "shuffled", "coef": COEF, "shuffled": True},
    {**PLAIN, "name": "base", "coef": 0.0},
    {**PLAIN, "name": "plain verl", "coef": 0.0, "worker": "plain"},
    {**PLAIN, "name": "constant", "coef": 0.0, "actor": {"loss_agg_mode": "seq-mean-token-sum-norm",
                                                         "loss_scale_factor": 24}},
    {**PLAIN, "name": "echo alone", "coef": COEF, "advantage_scale": 0.0},
]  # fmt: skip

VARIANTS = {
    "clips": {"echo": {"normalize_by": "clips"}},
    "topk of clips": {"echo": {"select": "topk", "k": 3, "normalize_by": "clips"}},
    "topk": {"echo": {"select": "topk", "k": 3}},
    "entropy bonus": {"local": {"worker.actor.entropy_coef": 0.1}, "actor": {"entropy_coeff": 0.1}},
    "two epochs": {"local": {"worker.actor.ppo_epochs": 2}, "epochs": 2},
    "sequence means": {"local": {"worker.actor.loss_avg_mode": "seq"},
                       "actor": {"loss_agg_mode": "seq-mean-token-mean"}},
    "kl": {"local": {"algorithm.use_kl_loss": True, "algorithm.kl_penalty": "low_var_kl"},
           "actor": {"use_kl_loss": True, "kl_loss_type": "low_var_kl", "kl_loss_coef": 0.3}},
}  # fmt: skip
"""Other settings of the update, for the local engine and for verl's actor."""


@pytest.fixture(scope="module")
def results(verl, overrides, text_problems, tmp_path_factory):
    """Gradients of the local engine, and of verl's worker with one and two ranks."""
    job = tmp_path_factory.mktemp("gradients")
    own = [
        *overrides,
        "data.rollout_batch_size=8",
        "worker.actor.global_batch_size=4",
        "worker.actor.max_grad_norm=1e9",
        "worker.actor.micro_batch_size_per_device_for_update=16",
        "worker.actor.model.enable_gradient_checkpointing=false",
    ]
    config = load_config(RECIPE, own)
    policy, train_batch = graded_rollouts(config, text_problems)
    train_batch = mined(policy, train_batch, config.echo)
    saved = {
        "rows": as_verl(train_batch),
        "prompts": PROMPTS,
        "longest": config.data.max_prompt_length + config.data.max_response_length,
        "config": str(RECIPE),
        "overrides": own,
        "cases": CASES + [variant_case(policy, train_batch, name) for name in VARIANTS],
        "optimizer_steps": STEPS,
        "temperature": config.worker.rollout.temperature,
    }
    torch.save(saved, job / "batch.pt")
    found = {"rollouts": train_batch.rollouts, "local": {}}
    for name, coef, scale in (("whole", COEF, 1.0), ("base", 0.0, 1.0), ("echo", COEF, 0.0)):
        changed = dataclasses.replace(train_batch, advantages=train_batch.advantages * scale)
        found["local"][name] = local_gradients(policy, changed, config, coef)
    found["local"] |= {name: variant_gradients(policy, train_batch, config, name) for name in VARIANTS}
    for world in (1, 2):
        found[world] = run_ranks(RANKS, job, world)[0]
    return found


def mined(policy, train_batch, echo: EchoConfig):
    return mine_clips(train_batch, echo, make_splitter("window", policy.tokenizer, size=4), step=1)


def as_verl(train_batch) -> list[dict[str, torch.Tensor]]:
    """The rollouts in the layout of verl's queue: rows without padding."""
    rollouts, rows = train_batch.rollouts, []
    for row, group in enumerate(rollouts.group_ids.tolist()):
        prompt, length = rollouts.prompts[group].input_ids, int(rollouts.response_mask[row].sum())
        response = rollouts.tokens[row, :length]
        whole, mask = torch.cat([prompt, response]), torch.ones(length, dtype=torch.long)
        rows.append(
            {
                "prompts": prompt,
                "responses": response,
                "input_ids": whole,
                "position_ids": torch.arange(len(whole)),
                "response_mask": mask,
                "loss_mask": mask,
                "old_log_probs": rollouts.log_probs[row, :length],
                "ref_log_prob": train_batch.ref_log_probs[row, :length],
                "advantages": train_batch.advantages[row] * mask,
                "token_weights": train_batch.clips.token_weights[row, :length],
            }
        )
    return rows


def variant_case(policy, train_batch, name: str) -> dict:
    """The case of a variant for the ranks, with its own clips."""
    changed = mined(policy, train_batch, EchoConfig(**VARIANTS[name].get("echo", {}), include_truncated=True))
    columns = {"token_weights": changed.clips.token_weights}
    if VARIANTS[name].get("echo", {}).get("normalize_by") == "clips":
        columns["echo_clips"] = changed.clips.per_row[:, None]
    known = {key: value for key, value in VARIANTS[name].items() if key not in ("echo", "local")}
    return {**PLAIN, "name": name, "coef": COEF, "micro": 4, "columns": columns} | known


def variant_gradients(policy, train_batch, config, name: str) -> dict:
    variant, config = VARIANTS[name], copy.deepcopy(config)
    config.echo = EchoConfig(**variant.get("echo", {}), include_truncated=True)
    for key, value in variant.get("local", {}).items():
        set_value(config, key, value)
    changed = mined(policy, train_batch, config.echo)
    return local_gradients(policy, changed, config, COEF, variant.get("actor", {}).get("kl_loss_coef", 0.0))


SPLITS = [case["name"] for case in CASES if case["coef"] and "advantage_scale" not in case]


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("case", SPLITS)
def test_gradient_equals_the_local_engine_s_for_every_split(results, world, case):
    assert difference(results[world][case]["gradients"], results["local"]["whole"]["gradients"]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_gradient_equals_the_local_engine_s_for_other_settings(results, world, name):
    found, expected = results[world][name], results["local"][name]
    assert difference(found["gradients"], expected["gradients"]) < 1e-5
    plain = results["local"]["whole"]["gradients"]
    assert len(found["gradients"]) != STEPS or difference(plain, expected["gradients"]) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_gradient_and_loss_of_the_echo_term(results, world):
    found, expected = results[world]["echo alone"], results["local"]["echo"]
    assert difference(found["gradients"], expected["gradients"]) < 1e-5
    assert found["metrics"]["echo/loss"] == pytest.approx(expected["metrics"]["echo/loss"], rel=1e-5)
    norm = torch.cat([value.flatten() for value in found["gradients"][0].values()]).norm()
    assert norm > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_without_coefficient_the_gradient_is_the_base_algorithm_s(results, world):
    assert difference(results[world]["base"]["gradients"], results["local"]["base"]["gradients"]) < 1e-5
    assert difference(results["local"]["whole"]["gradients"], results["local"]["base"]["gradients"]) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_without_coefficient_it_equals_plain_verl_bit_for_bit(results, world):
    """Gradients, metrics, and the weights after a real step, of verl's own worker class and of ours."""
    ours, theirs = results[world]["base"], results[world]["plain verl"]
    for one, other in zip(ours["gradients"], theirs["gradients"], strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    one, other = (results[world][f"{name}, a real step"] for name in ("echo", "plain"))
    assert all(torch.equal(one["weights"][name], other["weights"][name]) for name in other["weights"])
    measured = {name: value for name, value in theirs["metrics"].items() if not name.startswith(("perf/", "mfu"))}
    assert len(measured) > 5 and {name: ours["metrics"][name] for name in measured} == measured


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_constant_mean_divides_by_rows_times_the_longest_response(results, world):
    """Dr. GRPO: the same sum over tokens as with a mean, divided by rows x 24."""
    rollouts = results["rollouts"]
    tokens = rollouts.response_mask.view(STEPS, -1).sum(-1)
    expected = [
        {name: value * tokens[step] / (PROMPTS * N / STEPS * 24) for name, value in gradients.items()}
        for step, gradients in enumerate(results["local"]["base"]["gradients"])
    ]
    assert difference(results[world]["constant"]["gradients"], expected) < 1e-5


@pytest.mark.slow
def test_policy_loss_is_logged_without_the_echo_term(results):
    one = results[1]
    assert one["echo alone"]["metrics"]["actor/pg_loss"] == 0
    expected = one["base"]["metrics"]["actor/pg_loss"]
    assert one["packed-fixed-4"]["metrics"]["actor/pg_loss"] == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["packed-fixed-4", "padded-dynamic-2"])
def test_entropies_of_the_old_log_prob_pass_equal_those_of_sampling(results, case):
    rollouts, found = results["rollouts"], results[1][case]
    for row, mask in enumerate(rollouts.response_mask):
        torch.testing.assert_close(found["entropies"][row], rollouts.entropy[row][mask], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found["log_probs"][row], rollouts.log_probs[row][mask], atol=1e-4, rtol=1e-4)
