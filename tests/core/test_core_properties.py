"""Properties of the algorithm that hold in every engine. Their numbers are those of the specification.

The model is a toy policy whose logits depend linearly on the parameters, in float64.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import (
    EchoConfig,
    NewlineSplitter,
    TokenTable,
    aggregate,
    echo_denominator,
    echo_loss,
    group_advantages,
    kl_penalty,
    log_probs_and_entropy,
    mine_echo_clips,
    policy_loss,
    step_ids,
)

COMMON = settings(deadline=None, max_examples=25, database=None)
VOCABULARY, HIDDEN = 11, 5
SPLITTER = NewlineSplitter(TokenTable(["\n", ".\n", *"abcdefghi"]))


class Step:
    """An optimizer step of P prompts with n rollouts each; it computes the loss of any subset of its rows."""

    def __init__(self, seed=0, prompts=3, n=4, length=9, rewards=None, config=EchoConfig()):  # noqa: B008 (frozen)
        generator = torch.Generator().manual_seed(seed)
        rows = prompts * n
        self.parameters = torch.randn(HIDDEN, VOCABULARY, generator=generator, dtype=torch.float64).requires_grad_()
        self.features = torch.randn(rows, length, HIDDEN, generator=generator, dtype=torch.float64)
        self.tokens = torch.randint(0, VOCABULARY, (rows, length), generator=generator)
        lengths = torch.randint(1, length + 1, (rows,), generator=generator)
        self.mask = torch.arange(length) < lengths[:, None]
        self.group_ids = torch.arange(prompts).repeat_interleave(n)
        random_rewards = (torch.rand(rows, generator=generator) < 0.6).double()
        self.rewards = random_rewards if rewards is None else rewards
        self.advantages = group_advantages(self.rewards, self.group_ids).double()
        with torch.no_grad():
            log_probs, entropy = self.forward(slice(None))
        self.old_log_probs = log_probs + 0.1 * torch.randn(log_probs.shape, generator=generator, dtype=torch.float64)
        ids = step_ids(self.tokens, self.mask, SPLITTER)
        self.clips = mine_echo_clips(entropy, ids, self.group_ids, self.rewards >= 1, config)
        self.prompts, self.config = prompts, config

    def forward(self, rows):
        return log_probs_and_entropy(self.features[rows] @ self.parameters, self.tokens[rows])

    def policy_term(self, rows, log_probs):
        loss = policy_loss(log_probs, self.old_log_probs[rows], self.advantages[rows], self.mask[rows]).loss
        return aggregate(loss, self.mask[rows], "token", int(self.mask.sum()))

    def echo_term(self, rows, log_probs):
        denominator = echo_denominator(self.config, self.prompts, len(self.clips))
        return echo_loss(log_probs, self.clips.token_weights[rows], denominator)

    def gradient(self, terms):
        """Return the gradient of the sum of terms, each a function without arguments; one backward per term."""
        self.parameters.grad = None
        for term in terms:
            term().backward()
        return self.parameters.grad

    def loss(self, rows, coef):
        log_probs, _ = self.forward(rows)
        return self.policy_term(rows, log_probs) + coef * self.echo_term(rows, log_probs)


@COMMON
@given(st.integers(0, 10**6), st.sampled_from(["max", "topk"]), st.sampled_from(["prompts", "clips"]), st.data())
def test_property_2_the_gradient_does_not_depend_on_splitting_and_order(seed, select, normalize_by, data):
    step = Step(seed, config=EchoConfig(select=select, k=2, normalize_by=normalize_by))
    rows = len(step.tokens)
    whole = step.gradient([lambda: step.loss(slice(None), 0.5)])
    order = torch.tensor(data.draw(st.permutations(range(rows))))
    sizes = data.draw(st.sampled_from([[rows], [1] * rows, [5, 3, 4], [2, 10]]))
    split = step.gradient([lambda part=part: step.loss(part, 0.5) for part in order.split(sizes)])
    torch.testing.assert_close(split, whole, atol=1e-12, rtol=1e-10)


@COMMON
@given(st.integers(0, 10**6))
def test_property_2_the_gradient_does_not_depend_on_packing(seed):
    """All responses are in one row without padding, as in a packed forward pass."""
    step = Step(seed)
    whole = step.gradient([lambda: step.loss(slice(None), 0.5)])

    def packed():
        inside = step.mask
        log_probs, _ = log_probs_and_entropy(step.features[inside][None] @ step.parameters, step.tokens[inside][None])
        advantages = step.advantages[:, None].expand_as(inside)[inside][None]
        ones = torch.ones_like(log_probs, dtype=torch.bool)
        loss = policy_loss(log_probs, step.old_log_probs[inside][None], advantages, ones).loss
        weights = step.clips.token_weights[inside][None]
        return aggregate(loss, ones, "token", int(inside.sum())) + 0.5 * echo_loss(log_probs, weights, step.prompts)

    torch.testing.assert_close(step.gradient([packed]), whole, atol=1e-12, rtol=1e-10)


@COMMON
@given(st.integers(0, 10**6))
def test_property_2_mining_does_not_depend_on_the_other_groups(seed):
    generator = torch.Generator().manual_seed(seed)
    ids = (torch.rand(8, 10, generator=generator) < 0.3).long().cumsum(1)
    entropy, verified = torch.rand(8, 10, generator=generator), torch.rand(8, generator=generator) < 0.7
    groups = torch.tensor([0, 1, 0, 1, 2, 2, 1, 0])
    whole = mine_echo_clips(entropy, ids, groups, verified, EchoConfig())
    for group in range(3):
        rows = (groups == group).nonzero().flatten()
        alone = mine_echo_clips(entropy[rows], ids[rows], groups[rows], verified[rows], EchoConfig())
        assert torch.equal(alone.token_weights, whole.token_weights[rows])


@COMMON
@given(st.integers(0, 10**6))
def test_property_3_lambda_0_is_the_base_algorithm_bit_for_bit(seed):
    step = Step(seed)

    def base():
        return step.policy_term(slice(None), step.forward(slice(None))[0])

    loss, gradient = base(), step.gradient([base])
    with_echo = step.gradient([lambda: step.loss(slice(None), 0.0)])
    assert torch.equal(step.loss(slice(None), 0.0), loss)
    assert torch.equal(with_echo, gradient)


@pytest.mark.parametrize("loss_type", ["default", "gspo", "gspo_token", "cispo", "sapo"])
@pytest.mark.parametrize("reward", [1.0, 1.1])  # the floating-point mean of 8 times 1.1 is not 1.1
def test_property_4_all_success_groups_have_an_echo_gradient_only(loss_type, reward):
    step = Step(rewards=torch.full((24,), reward, dtype=torch.float64), n=8)

    def policy():
        log_probs, _ = step.forward(slice(None))
        loss = policy_loss(log_probs, step.old_log_probs, step.advantages, step.mask, loss_type=loss_type).loss
        return aggregate(loss, step.mask, "token", int(step.mask.sum()))

    assert len(step.clips) == 3
    assert step.gradient([policy]).norm().item() == 0.0
    assert step.gradient([lambda: step.echo_term(slice(None), step.forward(slice(None))[0])]).norm().item() > 0.0


@COMMON
@given(st.integers(0, 10**6))
def test_property_5_components_keep_their_own_denominators(seed):
    """The gradient of the sum is the sum of the terms' gradients, and scaling one term does not change the others."""
    step = Step(seed)
    rows = slice(None)

    def policy():
        return step.policy_term(rows, step.forward(rows)[0])

    def echo():
        return 0.5 * step.echo_term(rows, step.forward(rows)[0])

    def kl():
        penalty = kl_penalty(step.forward(rows)[0], step.old_log_probs)
        return 0.1 * aggregate(penalty, step.mask, "seq", len(step.mask))

    single = [step.gradient([term]).clone() for term in (policy, echo, kl)]
    torch.testing.assert_close(step.gradient([policy, echo, kl]), sum(single), atol=1e-12, rtol=1e-10)
    step.clips.token_weights.mul_(2.0)  # a larger echo term; exact in float32
    assert torch.equal(step.gradient([policy]), single[0])
    torch.testing.assert_close(step.gradient([policy, echo]), single[0] + 2.0 * single[1], atol=1e-12, rtol=1e-10)


def test_property_6_mining_uses_the_groups_that_dynamic_sampling_drops():
    step = Step(rewards=torch.tensor([1.0] * 4 + [1.0, 0.0, 0.0, 0.0] + [0.0] * 4, dtype=torch.float64))
    assert step.group_ids[step.clips.rows].tolist() == [0, 1]  # all-success and mixed, but not all-fail
