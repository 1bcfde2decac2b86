"""The experiment `steps`: which steps are deleted, how many, and the remaining prompt."""

from __future__ import annotations

import random

import pytest
import torch

from echorl_vl.evidence.experiments.steps import (
    Solution,
    _mean_position,
    _token_share,
    deleted_count,
    deletion_order,
    prompt_without,
)
from echorl_vl.types import Prompt

ENTROPIES = [0.3, 0.9, 0.1, 0.9, 0.5]


def solution() -> Solution:
    pieces = [torch.tensor([10, 11]), torch.tensor([20]), torch.tensor([30, 31, 32])]
    return Solution(Prompt(None, "", torch.tensor([1, 2])), pieces, [0.1, 0.2, 0.3])


def test_orders_are_by_entropy():
    rng = random.Random(0)
    assert deletion_order(ENTROPIES, "highest", rng) == [1, 3, 4, 0, 2]
    assert deletion_order(ENTROPIES, "lowest", rng) == [2, 0, 4, 1, 3]
    shuffled = {tuple(deletion_order(ENTROPIES, "random", rng)) for _ in range(20)}
    assert len(shuffled) > 10 and all(sorted(order) == [0, 1, 2, 3, 4] for order in shuffled)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("steps", [2, 3, 5])
def test_the_mean_share_is_exact(steps, share):
    chances = [(index + 0.5) / 1000 for index in range(1000)]
    counts = [deleted_count(steps, share, chance) for chance in chances]
    assert sum(counts) / 1000 == pytest.approx(share * steps, abs=2e-3)
    assert max(counts) - min(counts) <= 1


def test_a_larger_share_deletes_as_much_or_more():
    for chance in (0.01, 0.4, 0.99):
        counts = [deleted_count(4, share, chance) for share in (0, 0.1, 0.2, 0.3, 0.5)]
        assert counts == sorted(counts) and counts[0] == 0


def test_the_remaining_steps_follow_the_prompt_in_order():
    one = solution()
    assert prompt_without(one, {1}).input_ids.tolist() == [1, 2, 10, 11, 30, 31, 32]
    assert prompt_without(one, set()).input_ids.tolist() == [1, 2, 10, 11, 20, 30, 31, 32]
    assert prompt_without(one, {0, 1, 2}).input_ids.tolist() == [1, 2]
    assert one.prompt.input_ids.tolist() == [1, 2]


def test_tokens_and_positions_of_deleted_steps():
    assert _token_share([solution()] * 2, [{0}, {2}]) == pytest.approx(5 / 12)
    assert _mean_position([solution()] * 2, [{0}, {1, 2}]) == pytest.approx((0 + 0.5 + 1) / 3)
    assert _mean_position([solution()], [set()]) is None
