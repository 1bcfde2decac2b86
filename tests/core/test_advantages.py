"""Advantages compared with a loop over groups."""

from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import ESTIMATORS, group_advantages, overlong_penalty

COMMON = settings(deadline=None, max_examples=50, database=None)


def naive(rewards, group_ids, estimator, norm_by_std, eps):
    out = []
    for reward, group in zip(rewards, group_ids, strict=True):
        of_group = [other for other, its in zip(rewards, group_ids, strict=True) if its == group]
        std = statistics.stdev(of_group) if norm_by_std else 1.0 - eps
        if estimator == "grpo":
            value = (reward - statistics.fmean(of_group)) / (std + eps)
        elif estimator == "grpo_passk":
            best, second = sorted(of_group, reverse=True)[:2]
            value = (best - second) / (std + eps) if reward == best else 0.0
        elif estimator == "reinforce_rej":
            value = 0.0 if len(set(of_group)) == 1 else reward
        else:
            value = reward - (sum(of_group) - reward) / (len(of_group) - 1)
        out.append(value)
    return out


@st.composite
def groups_of_rewards(draw):
    """Rewards and group ids of groups of 2 to 6 rollouts, in any order."""
    reward = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])
    groups = draw(st.lists(st.lists(reward, min_size=2, max_size=6), min_size=1, max_size=4))
    rows = [(reward, 5 - 3 * group) for group, rewards in enumerate(groups) for reward in rewards]
    return tuple(zip(*draw(st.permutations(rows)), strict=True))


@COMMON
@given(groups_of_rewards(), st.sampled_from(["grpo", "grpo_passk", "rloo", "reinforce_rej"]), st.booleans())
def test_advantages_equal_those_of_a_loop(case, estimator, norm_by_std):
    rewards, group_ids = case
    actual = group_advantages(torch.tensor(rewards), torch.tensor(group_ids), estimator, norm_by_std)
    expected = naive(torch.tensor(rewards).tolist(), group_ids, estimator, norm_by_std, 1e-6)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("estimator", ["grpo", "grpo_passk", "rloo", "reinforce_rej"])
@pytest.mark.parametrize("reward", [0.1, 0.9, 1.1, 1 / 3])
@pytest.mark.parametrize("size", [3, 7, 8])
def test_equal_rewards_give_exactly_0(estimator, reward, size):
    advantages = group_advantages(torch.full((size,), reward), torch.zeros(size, dtype=torch.int64), estimator)
    assert advantages.tolist() == [0.0] * size


def test_reinforce_plus_plus_whitens_over_the_tokens_of_the_batch():
    rewards, lengths = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([3, 1, 2])
    tokens = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.5, 0.5])
    expected = (rewards - tokens.mean()) / (tokens.var() + 1e-8).sqrt()
    ids = torch.tensor([0, 0, 1])
    torch.testing.assert_close(
        group_advantages(rewards, ids, "reinforce_plus_plus", response_lengths=lengths), expected
    )
    expected = (rewards - rewards.mean()) / (rewards.var() + 1e-8).sqrt()
    torch.testing.assert_close(group_advantages(rewards, ids, "reinforce_plus_plus"), expected)


@pytest.mark.parametrize("estimator", ["grpo", "grpo_passk", "rloo", "reinforce_rej"])
def test_a_group_of_one_rollout_is_an_error(estimator):
    with pytest.raises(ValueError, match="expected groups of n > 1 rollouts, got group 9 with 1 rollout"):
        group_advantages(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([4, 4, 9]), estimator)


def test_invalid_arguments_are_errors():
    with pytest.raises(ValueError, match="grpo, grpo_passk, rloo, reinforce_rej, reinforce_plus_plus"):
        group_advantages(torch.zeros(2), torch.zeros(2), "ppo")
    with pytest.raises(ValueError, match="the same shape"):
        group_advantages(torch.zeros(2), torch.zeros(3))
    assert len(ESTIMATORS) == 5


def test_the_overlong_penalty_follows_dapo():
    lengths = torch.tensor([10, 80, 81, 90, 99, 100, 120])
    expected = [0.0, 0.0, -0.05, -0.5, -0.95, -1.0, -1.0]
    torch.testing.assert_close(overlong_penalty(lengths, 100, 20), torch.tensor(expected))
    torch.testing.assert_close(overlong_penalty(lengths, 100, 20, factor=0.5), torch.tensor(expected) / 2)
    with pytest.raises(ValueError, match="1 to 100 tokens"):
        overlong_penalty(lengths, 100, 101)
