"""The update: its gradient equals a naive one for every split of rows; properties of the echo term."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch

from echorl_vl.config import Config
from echorl_vl.core import METRIC_NAMES, EchoConfig, make_splitter
from echorl_vl.core.seeds import step_generator
from echorl_vl.engines.local.advantages import compute_advantages
from echorl_vl.engines.local.collect import RolloutStrategy
from echorl_vl.engines.local.optim import learning_rate, make_optimizer
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.reference import KLController
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.engines.local.trainer import Trainer
from echorl_vl.engines.local.update import Updater
from echorl_vl.engines.train_batch import batch_metrics, mine_clips
from echorl_vl.errors import UserError
from echorl_vl.types import TrainBatch

PROMPTS, N, COEF = 4, 4, 0.05


def config(**changes) -> Config:
    made = Config()
    made.data.rollout_batch_size = PROMPTS
    made.worker.rollout.n = N
    actor = made.worker.actor
    actor.global_batch_size, actor.micro_batch_size_per_device_for_update = PROMPTS, PROMPTS * N
    actor.optim.lr, actor.max_grad_norm = 1e-3, 1e9
    for key, value in changes.items():
        owner = made
        *path, name = key.split("__")
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, name, value)
    return made


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.vl_policy()


def train_batch(policy: Policy, settings: Config, accuracies, noise: float = 0.0) -> TrainBatch:
    """Rollouts of four prompts, three with images, and their accuracies. Old log-probs are off by `noise`."""
    prompts = [tiny.prompt("ab", (4, 4)), tiny.prompt("cd", (4, 8), seed=1), tiny.prompt("e"), tiny.prompt("f", (4, 4))]
    params = SamplingParams(n=N, max_tokens=12)
    rollouts = generate(policy, prompts, params, torch.Generator().manual_seed(3))
    rollouts.truncated[:] = False  # a random model hardly ever ends a response
    rollouts.log_probs = rollouts.log_probs + noise * torch.randn(
        rollouts.log_probs.shape, generator=torch.Generator().manual_seed(1)
    )
    scores = [{"overall": float(a), "accuracy": float(a)} for a in accuracies]
    made = compute_advantages(replace(rollouts, scores=scores), settings)
    splitter = make_splitter("window", tiny.tokenizer(), size=3)  # random bytes have few newlines
    return mine_clips(made, settings.echo, splitter, step=1)


MIXED = [1, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0]


class Recorder(torch.optim.SGD):
    """An optimizer that records the gradients of each step and changes no parameter."""

    def __init__(self, model) -> None:
        super().__init__([p for p in model.parameters() if p.requires_grad], lr=0.0)
        self.seen: list[list[torch.Tensor]] = []

    def step(self, closure=None) -> None:
        own = self.param_groups[0]["params"]
        self.seen.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in own])


def gradients(policy: Policy, settings: Config, made: TrainBatch, coef: float) -> list[torch.Tensor]:
    recorder = Recorder(policy.model)
    Updater(policy, recorder, settings, 1).update(made, coef)
    return recorder.seen[0]


def naive_loss(policy: Policy, settings: Config, made: TrainBatch, coef: float) -> torch.Tensor:
    """The loss of the formulas, from transformers' own forward pass over one rollout at a time."""
    rollouts, tokens = made.rollouts, int(made.rollouts.response_mask.sum())
    total = torch.zeros(())
    for row in range(len(rollouts.tokens)):
        length = int(rollouts.response_mask[row].sum())
        item = rollouts.prompts[row // N]
        log_probs, entropy = tiny.naive_forward(policy, item, rollouts.tokens[row, :length], 1.0)
        ratio = (log_probs - rollouts.log_probs[row, :length]).exp()
        advantage = made.advantages[row]
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.3) * advantage)
        surrogate = torch.where(advantage < 0, surrogate.clamp(min=3 * advantage), surrogate)
        total = total - surrogate.sum() / tokens - settings.worker.actor.entropy_coef * entropy.sum() / tokens
        for clip in range(len(made.clips)):
            if int(made.clips.rows[clip]) == row:
                inside = rollouts.text_mask[row, :length].clone()
                inside[int(made.clips.ends[clip]) + 1 :] = False
                total = total - coef * log_probs[inside].sum() / inside.sum() / PROMPTS
    return total


@pytest.mark.parametrize("entropy_coef", [0.0, 0.1])
def test_the_gradient_equals_a_naive_one(policy: Policy, entropy_coef: float) -> None:
    settings = config(worker__actor__entropy_coef=entropy_coef)
    made = train_batch(policy, settings, MIXED, noise=0.3)
    assert len(made.clips) == 3
    found = gradients(policy, settings, made, COEF)
    policy.model.zero_grad()
    naive_loss(policy, settings, made, COEF).backward()
    for (name, parameter), gradient in zip(policy.model.named_parameters(), found, strict=True):
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient, expected, atol=2e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
    policy.model.zero_grad()


def test_the_gradient_is_the_same_for_every_split(policy: Policy) -> None:
    made = train_batch(policy, config(), MIXED, noise=0.3)
    expected_by_mode = {
        mode: gradients(policy, config(worker__actor__entropy_coef=0.01, worker__actor__loss_avg_mode=mode), made, COEF)
        for mode in ("token", "seq")
    }
    for size, packed, mode in itertools.product((1, 2, 8), (True, False), ("token", "seq")):
        split = config(
            worker__actor__micro_batch_size_per_device_for_update=size,
            worker__actor__padding_free=packed,
            worker__actor__loss_avg_mode=mode,
            worker__actor__entropy_coef=0.01,
        )
        found, expected = gradients(policy, split, made, COEF), expected_by_mode[mode]
        scale = max(gradient.abs().max() for gradient in expected)
        worst = max((a - b).abs().max() for a, b in zip(found, expected, strict=True))
        assert worst <= 1e-5 * max(1.0, float(scale)), (size, packed, float(worst))


def test_all_success_groups_have_a_gradient_of_the_echo_term_alone(policy: Policy) -> None:
    settings = config(echo=EchoConfig(log_grad_share=True))
    made = train_batch(policy, settings, [1] * (PROMPTS * N))
    assert all(not gradient.any() for gradient in gradients(policy, settings, made, 0.0))
    assert any(gradient.any() for gradient in gradients(policy, settings, made, COEF))
    metrics = Updater(policy, Recorder(policy.model), settings, 1).update(made, COEF)
    assert metrics["actor/policy_grad_norm"] == 0.0
    assert metrics["echo/grad_norm"] > 0
    assert metrics["echo/grad_share"] == pytest.approx(1.0)


def test_separate_gradient_norms_are_those_of_the_single_terms(policy: Policy) -> None:
    settings = config(echo=EchoConfig(log_grad_share=True), worker__actor__micro_batch_size_per_device_for_update=2)
    made = train_batch(policy, settings, MIXED)
    base, whole = gradients(policy, settings, made, 0.0), gradients(policy, settings, made, COEF)
    echo = [one - other for one, other in zip(whole, base, strict=True)]
    metrics = Updater(policy, Recorder(policy.model), settings, 1).update(made, COEF)
    for name, found in (("actor/policy_grad_norm", base), ("echo/grad_norm", echo), ("actor/grad_norm", whole)):
        expected = torch.cat([gradient.flatten() for gradient in found]).norm()
        assert metrics[name] == pytest.approx(float(expected), rel=1e-4), name


def test_an_echo_term_of_weight_zero_is_the_base_algorithm_bit_for_bit(policy: Policy) -> None:
    settings = config(worker__actor__ppo_epochs=2, worker__actor__micro_batch_size_per_device_for_update=4)
    results = []
    for mined in (True, False):
        own = copy.deepcopy(policy)
        made = train_batch(own, settings, MIXED)
        if not mined:
            made.clips = made.steps = None
        updater = Updater(own, make_optimizer(own.model, settings.worker.actor.optim), settings, 1)
        metrics = updater.update(made, 0.0)
        results.append((metrics, [p.detach().clone() for p in own.model.parameters()]))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))


def test_the_echo_term_takes_no_forward_pass(policy: Policy) -> None:
    settings = config(worker__actor__micro_batch_size_per_device_for_update=4)
    made = train_batch(policy, settings, MIXED)
    calls = []
    for coef in (0.0, COEF):
        before = policy.forward_calls, policy.vision_calls, policy.prefill_calls, policy.decode_calls
        Updater(policy, Recorder(policy.model), settings, 1).update(made, coef)
        after = policy.forward_calls, policy.vision_calls, policy.prefill_calls, policy.decode_calls
        calls.append([b - a for a, b in zip(before, after, strict=True)])
    assert calls[0] == calls[1] and calls[0][0] == PROMPTS * N // 4


def test_the_echo_term_does_not_change_the_weight_of_others(policy: Policy) -> None:
    """Ten times the weight adds nine more times the gradient of the echo term."""
    settings = config(worker__actor__entropy_coef=0.02)
    made = train_batch(policy, settings, MIXED, noise=0.2)
    base, once, tenfold = (gradients(policy, settings, made, coef) for coef in (0.0, COEF, 10 * COEF))
    for a, b, c in zip(base, once, tenfold, strict=True):
        torch.testing.assert_close(c - a, 10 * (b - a), atol=2e-5, rtol=1e-3)


def test_mini_batches_keep_groups_whole(policy: Policy) -> None:
    settings = config(worker__actor__global_batch_size=2, worker__actor__ppo_epochs=2)
    recorder = Recorder(policy.model)
    updater = Updater(policy, recorder, settings, 5)
    metrics = updater.update(train_batch(policy, settings, MIXED), COEF)
    assert len(recorder.seen) == updater.steps == 4
    assert metrics["actor/skipped_steps"] == 0


def test_steps_that_are_not_finite_are_skipped_and_several_stop_the_run(policy: Policy) -> None:
    settings = config(trainer__max_bad_steps=2)
    own = copy.deepcopy(policy)
    before = [p.detach().clone() for p in own.model.parameters()]
    made = train_batch(own, settings, MIXED)
    made.advantages[0] = float("nan")
    updater = Updater(own, make_optimizer(own.model, settings.worker.actor.optim), settings, 9)
    metrics = updater.update(made, COEF)
    assert metrics["actor/skipped_steps"] == 1 and updater.bad_steps == 1
    assert all(torch.equal(a, b) for a, b in zip(before, own.model.parameters(), strict=True))
    with pytest.raises(UserError, match=r"2 optimizer steps were not finite.*optim\.lr"):
        updater.update(made, COEF)


def test_rollouts_in_chunks_of_prompts_are_one_batch(policy: Policy) -> None:
    prompts = [tiny.prompt("ab", (4, 4)), tiny.prompt("cd", (4, 8), seed=1), tiny.prompt("e")]
    settings = config(data__mini_rollout_batch_size=2, data__max_response_length=9, worker__rollout__n=2)
    joined = RolloutStrategy(settings, SimpleNamespace(policy=policy)).generate(prompts, 1, "rollout")
    params, generator = SamplingParams(n=2, max_tokens=9), step_generator(settings.worker.rollout.seed, 1, "rollout")
    parts = [generate(policy, prompts[:2], params, generator), generate(policy, prompts[2:], params, generator)]
    assert joined.group_ids.tolist() == [0, 0, 1, 1, 2, 2] and len(joined.prompts) == 3
    assert joined.texts == parts[0].texts + parts[1].texts
    width = parts[1].tokens.shape[1]
    assert torch.equal(joined.tokens[4:, :width], parts[1].tokens)
    assert not joined.response_mask[4:, width:].any()


def test_kl_in_the_reward_changes_advantages(policy: Policy) -> None:
    settings = config(algorithm__kl_penalty="kl", algorithm__norm_adv_by_std_in_grpo=False)
    made = train_batch(policy, settings, [1] * (PROMPTS * N))
    reference = made.rollouts.log_probs - 0.1 * made.rollouts.response_mask
    reference[0] -= 1.0 * made.rollouts.response_mask[0]
    moved = compute_advantages(made.rollouts, settings, ref_log_probs=reference, kl_coef=0.5)
    lengths = made.rollouts.response_mask.sum(-1).float()
    kl = 0.1 * lengths
    kl[0] = 1.1 * lengths[0]
    rewards = (1 - 0.5 * kl).view(PROMPTS, N)
    torch.testing.assert_close(moved.advantages[:, 0], (rewards - rewards.mean(1, keepdim=True)).flatten())


def test_metrics_have_the_names_of_the_specification(policy: Policy) -> None:
    settings = config(echo=EchoConfig(log_grad_share=True))
    made = train_batch(policy, settings, MIXED)
    metrics = Updater(policy, Recorder(policy.model), settings, 1).update(made, COEF)
    metrics |= batch_metrics(made, settings.echo) | {"echo/coef": COEF}
    assert set(METRIC_NAMES) <= set(metrics)
    assert metrics["group/all_success"] == 0.25 and metrics["group/all_fail"] == 0.25
    assert metrics["reward/accuracy"] == sum(MIXED) / len(MIXED)


@pytest.mark.parametrize("gamma", [1.0, 0.7])
@pytest.mark.parametrize("with_kl", [False, True])
def test_reinforce_plus_plus_discounts_token_by_token(policy: Policy, gamma: float, with_kl: bool) -> None:
    """EasyR1's estimator, written out: the outcome at the last token, minus the KL of each token; then whitened."""
    settings = config(algorithm__adv_estimator="reinforce_plus_plus", algorithm__gamma=gamma)
    made = train_batch(policy, settings, MIXED)
    mask, coef = made.rollouts.response_mask, 0.5
    noise = torch.randn(mask.shape, generator=torch.Generator().manual_seed(7))
    reference = made.rollouts.log_probs + noise if with_kl else None
    found = compute_advantages(made.rollouts, settings, ref_log_probs=reference, kl_coef=coef).advantages
    returns = torch.zeros(mask.shape)
    for row, length in enumerate(mask.sum(-1).tolist()):
        rewards = [0.0] * (length - 1) + [float(MIXED[row])]
        if with_kl:
            rewards = [own - coef * -float(noise[row, place]) for place, own in enumerate(rewards)]
        for place in range(length):
            returns[row, place] = sum(gamma ** (late - place) * rewards[late] for late in range(place, length))
    values = returns[mask]
    expected = torch.zeros(mask.shape).masked_scatter(mask, (values - values.mean()) * (values.var() + 1e-8).rsqrt())
    torch.testing.assert_close(found * mask, expected, atol=1e-5, rtol=1e-5)
    assert gradients(policy, settings, replace(made, advantages=found), 0.0)


def test_an_adaptive_kl_controls_the_mean_per_token() -> None:
    """As in EasyR1: responses of any length at kl_target leave the weight unchanged."""
    settings = config(algorithm__kl_type="adaptive", algorithm__kl_target=0.25, algorithm__kl_horizon=100.0)
    mask = torch.arange(40) < torch.tensor([[40], [8]])
    every = torch.tensor([True, True])
    rollouts = SimpleNamespace(response_mask=mask, is_on_policy=every, log_probs=torch.zeros(2, 40))
    seen = []
    trainer = SimpleNamespace(config=settings, kl=KLController(settings.algorithm))
    for distance in (0.25, 0.5):
        made = SimpleNamespace(rollouts=rollouts, ref_log_probs=torch.full((2, 40), -distance))
        metrics = Trainer._kl_metrics(trainer, made)
        assert metrics["actor/kl_penalty"] == pytest.approx(distance)
        assert metrics["critic/kl"] == pytest.approx(24 * distance)
        seen.append(trainer.kl.coef / settings.algorithm.kl_coef)
    assert seen == pytest.approx([1.0, 1 + 0.2 * 2 / 100])


def test_the_schedule_counts_training_steps(policy: Policy) -> None:
    """All optimizer steps of a training step have the same rate; the warm-up starts at 0, as in EasyR1."""
    settings = config(worker__actor__ppo_epochs=2, worker__actor__global_batch_size=2)
    settings.worker.actor.optim.lr_warmup_ratio = 0.5
    made = train_batch(policy, settings, MIXED)
    updater = Updater(policy, Recorder(policy.model), settings, total_steps=4)
    assert [updater.update(made)["actor/lr"] for _ in range(4)] == pytest.approx([0.0, 5e-4, 1e-3, 1e-3])
    assert updater.steps == 16


def test_a_micro_batch_is_at_most_the_whole_batch(policy: Policy) -> None:
    settings = config(worker__actor__micro_batch_size_per_device_for_update=1000)
    made = train_batch(policy, settings, MIXED)
    got, expected = (gradients(policy, one, made, COEF) for one in (settings, config()))
    assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_the_learning_rate_warms_up_and_follows_its_schedule(kind: str) -> None:
    optim = Config().worker.actor.optim
    optim.lr, optim.lr_warmup_steps, optim.lr_scheduler_type, optim.min_lr_ratio = 1.0, 4, kind, 0.1
    rates = [learning_rate(optim, step, 24) for step in range(25)]
    assert rates[:5] == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])  # from 0, as in EasyR1
    assert rates[14] == pytest.approx({"constant": 1.0, "linear": 0.55, "cosine": 0.55}[kind])
    assert rates[24] == pytest.approx(1.0 if kind == "constant" else 0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_are_not_trained(dtype: torch.dtype) -> None:
    """At the default learning rate, AdamW's updates of nearly all bfloat16 weights round to zero."""
    optim = Config().worker.actor.optim
    weights = torch.randn(1000, generator=torch.Generator().manual_seed(0)).mul(0.05).to(dtype)
    assert float(((weights - optim.lr).to(dtype) == weights).float().mean()) > 0.9
    with pytest.raises(UserError, match="expected float32"):
        make_optimizer(torch.nn.Linear(3, 3).to(dtype), optim)
