"""Updates of all base algorithms: their gradients equal naive ones, for images and text and for every split of rows."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch
from torch import Tensor

from echorl_vl.config import Config
from echorl_vl.core import make_splitter
from echorl_vl.engines.local.advantages import compute_advantages
from echorl_vl.engines.local.collect import RolloutStrategy
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.engines.local.strategies import make_strategy
from echorl_vl.engines.local.strategies.off_policy import off_policy_rows, with_off_policy_rows
from echorl_vl.engines.local.update import Updater
from echorl_vl.engines.train_batch import batch_metrics, mine_clips
from echorl_vl.types import TrainBatch, merge_groups

PROMPTS, N, COEF, ENTROPY, LONGEST = 3, 4, 0.05, 0.02, 12
HINTS = {"uft": (5, 0, 3)}
DEMONSTRATIONS = ("so\n7\n", "first this\nthen 8", "9")


def config(name: str, **actor) -> Config:
    made = Config()
    made.data.rollout_batch_size, made.data.max_response_length = PROMPTS, LONGEST
    made.worker.rollout.n = N
    made.algorithm.name = name
    made.algorithm.adv_estimator = "reinforce_rej" if name == "reinforce_rej" else "grpo"
    made.worker.actor.global_batch_size = PROMPTS
    made.worker.actor.micro_batch_size_per_device_for_update = PROMPTS * N
    made.worker.actor.entropy_coef, made.worker.actor.max_grad_norm = ENTROPY, 1e9
    made.worker.actor.loss_avg_mode = "constant" if name == "dr_grpo" else "token"
    for key, value in actor.items():
        setattr(made.worker.actor, key, value)
    return made


@pytest.fixture(scope="module", params=["images", "text"])
def policy(request) -> Policy:
    return tiny.vl_policy() if request.param == "images" else tiny.text_policy()


def demonstrations(policy: Policy) -> list[Tensor]:
    return [torch.tensor([*policy.tokenizer(text)["input_ids"], policy.end_of_turn]) for text in DEMONSTRATIONS]


def strategy(policy: Policy, settings: Config) -> RolloutStrategy:
    return make_strategy(settings, SimpleNamespace(policy=policy))


def train_batch(policy: Policy, settings: Config, noise: float = 0.3) -> TrainBatch:
    """Three groups: mixed, all correct, all incorrect except the demonstration. Old log-probs are off by `noise`."""
    name = settings.algorithm.name
    sizes = [((4, 4),), ((4, 8),), ()] if policy.family.reads_images else [(), (), ()]
    prompts = [tiny.prompt(text, *sizes[i], seed=i) for i, text in enumerate(("ab", "cde", "f"))]
    for i, count in enumerate(HINTS.get(name, ())):
        ids = torch.cat([prompts[i].input_ids, demonstrations(policy)[1][:count]])
        prompts[i] = replace(prompts[i], input_ids=ids, hint_tokens=count)
    off_policy = name in ("luffy", "srft")
    if name == "sft":
        rollouts = off_policy_rows(policy, prompts, demonstrations(policy))
    else:
        params = SamplingParams(n=N - off_policy, max_tokens=LONGEST)
        rollouts = generate(policy, prompts, params, torch.Generator().manual_seed(3))
        rollouts.truncated[:] = False  # a random model hardly ever ends a response
        moved = noise * torch.randn(rollouts.log_probs.shape, generator=torch.Generator().manual_seed(1))
        rollouts.log_probs = rollouts.log_probs + moved * rollouts.response_mask
    if off_policy:
        rollouts = with_off_policy_rows(rollouts, policy, demonstrations(policy))
    correct = {0: (1, 0, 1, 0), 1: (1, 1, 1, 1), 2: (0, 0, 0, 0)}
    seen, scores = dict.fromkeys(range(PROMPTS), 0), []
    for group, own in zip(rollouts.group_ids.tolist(), rollouts.is_on_policy.tolist(), strict=True):
        value = float(correct[group][seen[group]]) if own else 1.0
        seen[group] += 1
        scores.append({"overall": value, "accuracy": value})
    made = compute_advantages(replace(rollouts, scores=scores), settings)
    if name != "sft":
        made = mine_clips(made, settings.echo, make_splitter("window", tiny.tokenizer(), size=3), step=1)
    return strategy(policy, settings).update_batch(made)


class Recorder(torch.optim.SGD):
    """An optimizer that records the gradients of its last step and changes no parameter."""

    def __init__(self, policy: Policy) -> None:
        super().__init__([p for p in policy.model.parameters() if p.requires_grad], lr=0.0)

    def step(self, closure=None) -> None:
        own = self.param_groups[0]["params"]
        self.seen = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in own]


def gradient(policy: Policy, settings: Config, made: TrainBatch, coef: float = COEF) -> tuple[Tensor, dict[str, float]]:
    recorder = Recorder(policy)
    metrics = Updater(policy, recorder, settings, 1).update(
        made, coef, prompt_term=strategy(policy, settings).prompt_term
    )
    policy.model.zero_grad()
    return torch.cat([g.flatten() for g in recorder.seen]), metrics


def naive_loss(policy: Policy, settings: Config, made: TrainBatch) -> Tensor:
    """The loss of the papers' formulas, from transformers' own forward pass over one row at a time."""
    name, rollouts, total = settings.algorithm.name, made.rollouts, torch.zeros(())
    lengths = rollouts.response_mask.sum(-1).tolist()
    trained = [True] * len(lengths) if made.rollouts.aux_only is None else (~made.rollouts.aux_only).tolist()
    tokens = sum(length for length, its in zip(lengths, trained, strict=True) if its)
    on_policy_tokens = sum(
        n for n, its, own in zip(lengths, trained, rollouts.is_on_policy.tolist(), strict=True) if its and own
    )
    denominator, own_denominator = tokens, on_policy_tokens
    if name == "dr_grpo":
        denominator = own_denominator = len(lengths) * LONGEST
    for row, length in enumerate(lengths):
        item = rollouts.prompts[int(rollouts.group_ids[row])]
        log_probs, entropy = tiny.naive_forward(policy, item, rollouts.tokens[row, :length], 1.0)
        advantage, own = made.advantages[row], bool(rollouts.is_on_policy[row])
        uncertainty = float(entropy.detach().mean())
        if own and trained[row]:
            if name == "srft":
                advantage = torch.tensor(0.1 * math.exp(uncertainty) if made.verified[row] else -1.0)
            ratio = (log_probs - rollouts.log_probs[row, :length]).exp()
            surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.3) * advantage)
            surrogate = torch.where(advantage < 0, surrogate.clamp(min=3 * advantage), surrogate)
            total = total - surrogate.sum() / denominator - ENTROPY * entropy.sum() / own_denominator
        elif name == "sft":
            total = total - log_probs.sum() / denominator
        elif not own:
            prob = log_probs.exp()
            total = total - (advantage * prob / (prob + 0.1)).sum() / denominator
            if name == "srft":
                total = total - 0.5 * math.exp(-uncertainty) * log_probs.sum() / denominator
        for clip in range(0 if made.clips is None else len(made.clips)):
            if int(made.clips.rows[clip]) == row:
                inside = rollouts.text_mask[row, :length].clone()
                inside[int(made.clips.ends[clip]) + 1 :] = False
                total = total - COEF * log_probs[inside].sum() / inside.sum() / PROMPTS
    hinted = [prompt for prompt in rollouts.prompts if prompt.hint_tokens]
    for prompt in hinted:
        plain = replace(prompt, input_ids=prompt.input_ids[: -prompt.hint_tokens], hint_tokens=0)
        hint_log_probs, _ = tiny.naive_forward(policy, plain, prompt.input_ids[-prompt.hint_tokens :], 1.0)
        total = total - 0.001 * hint_log_probs.sum() / sum(other.hint_tokens for other in hinted)
    return total


NAMES = ("grpo", "dr_grpo", "luffy", "srft", "uft", "sft", "reinforce_rej", "reinforce_ada")


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_equals_a_naive_one(policy: Policy, name: str) -> None:
    settings = config(name)
    made = train_batch(policy, settings)
    found, _ = gradient(policy, settings, made, 0.0 if name == "sft" else COEF)
    policy.model.zero_grad()
    naive_loss(policy, settings, made).backward()
    expected = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in policy.model.parameters()]
    )
    policy.model.zero_grad()
    assert expected.norm() > 0
    assert (found - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize("name", NAMES)
def test_gradient_and_metrics_are_the_same_for_every_split(policy: Policy, name: str) -> None:
    made = train_batch(policy, config(name))
    coef = 0.0 if name == "sft" else COEF
    expected, whole = gradient(policy, config(name), made, coef)
    for size, packed in itertools.product((1, 3, 5), (True, False)):
        split = config(name, micro_batch_size_per_device_for_update=size, padding_free=packed)
        found, metrics = gradient(policy, split, made, coef)
        assert (found - expected).norm() <= 1e-5 * max(1.0, float(expected.norm())), (size, packed)
        for key, value in whole.items():
            assert metrics[key] == pytest.approx(value, rel=1e-4, abs=1e-5), (key, size, packed)


@pytest.mark.parametrize("name", ["luffy", "srft"])
def test_demonstrations_are_last_in_their_group_and_never_mined(policy: Policy, name: str) -> None:
    settings = config(name)
    made = train_batch(policy, settings)
    own = made.rollouts.is_on_policy
    assert own.view(PROMPTS, N).tolist() == [[True] * (N - 1) + [False]] * PROMPTS
    assert own[made.clips.rows].all() and len(made.clips) == 2  # only the demonstration of the third prompt is correct
    assert (made.steps[~own] == -1).all() and (made.clips.token_weights[~own] == 0).all()
    assert made.verified[~own].all() and not made.verified.view(PROMPTS, N)[2, :-1].any()
    metrics = batch_metrics(made, settings.echo)
    assert metrics["reward/accuracy"] == pytest.approx(5 / 9)  # on-policy rows: 2 of 3, 3 of 3, 0 of 3
    assert metrics["group/all_fail"] == metrics["group/all_success"] == pytest.approx(1 / 3)
    assert metrics["group/degenerate"] == pytest.approx(1 / 3)  # the demonstration gives the third group advantages
    assert made.advantages.view(PROMPTS, N)[2, -1] > 0


def test_hint_tokens_are_not_in_clips_or_responses(policy: Policy) -> None:
    made = train_batch(policy, config("uft"))
    assert [prompt.hint_tokens for prompt in made.rollouts.prompts] == list(HINTS["uft"])
    assert made.clips.token_weights.shape == made.rollouts.tokens.shape
    for row, end, length in zip(*(getattr(made.clips, n).tolist() for n in ("rows", "ends", "lengths")), strict=True):
        assert int(made.rollouts.text_mask[row, : end + 1].sum()) == length


def test_of_prompt_tokens_only_hint_tokens_are_scored(policy: Policy, monkeypatch) -> None:
    seen = []
    score = Policy._score
    monkeypatch.setattr(
        Policy, "_score", lambda self, hidden, *rest: seen.append(len(hidden)) or score(self, hidden, *rest)
    )
    made = train_batch(policy, config("uft"))
    gradient(policy, config("uft"), made)
    assert seen == [int(made.rollouts.response_mask.sum()) + sum(HINTS["uft"])]


def test_a_row_kept_for_its_clip_is_in_the_echo_term_alone(policy: Policy) -> None:
    """Reinforce-Ada selects 2 rows of 4; the row of a clip that is not selected remains for the echo term."""
    settings = config("reinforce_ada")
    settings.algorithm.options = {"keep": 2}
    whole = train_batch(policy, config("grpo"))
    whole.clips = replace(whole.clips, rows=torch.tensor([2, 7]))
    whole.clips.token_weights[:] = whole.clips.token_weights[[1, 1, 0, 3, 4, 5, 6, 4, 8, 9, 10, 11]]
    reduced = strategy(policy, settings).update_batch(whole)
    assert reduced.rollouts.group_ids.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert reduced.rollouts.aux_only.tolist() == [False, False, True, False, False, True, False, False]
    assert reduced.clips.rows.tolist() == [2, 5]
    with_clip_row, _ = gradient(policy, settings, reduced, coef=0.0)
    reduced.clips = None
    without, _ = gradient(policy, settings, reduced.take((~reduced.rollouts.aux_only).nonzero().squeeze(1)), coef=0.0)
    torch.testing.assert_close(with_clip_row, without, atol=1e-6, rtol=1e-4)


def test_rounds_of_one_prompt_become_one_group(policy: Policy) -> None:
    prompts = [tiny.prompt("ab"), tiny.prompt("c"), tiny.prompt("d")]
    first, second = (
        generate(policy, some, SamplingParams(n=2, max_tokens=5), torch.Generator().manual_seed(seed))
        for seed, some in ((1, prompts), (2, [prompts[2], prompts[0]]))
    )
    merged = merge_groups([first, second], [torch.arange(3), torch.tensor([2, 0])], policy.pad_id)
    assert merged.group_ids.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert merged.prompts == prompts
    assert merged.texts == [*first.texts[:2], *second.texts[2:], *first.texts[2:4], *first.texts[4:], *second.texts[:2]]
