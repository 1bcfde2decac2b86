"""Group statistics and echo metrics against loops, under the names that every engine uses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import (
    METRIC_NAMES,
    EchoConfig,
    balanced_rows,
    echo_metrics,
    group_statistics,
    has_positive_and_negative,
    mine_echo_clips,
)

COMMON = settings(deadline=None, max_examples=40, database=None)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


@st.composite
def scored(draw):
    rows = draw(st.integers(1, 10))
    levels = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=rows, max_size=rows)
    groups = st.lists(st.integers(-1, 2), min_size=rows, max_size=rows)
    return draw(levels), draw(levels), draw(groups)


@COMMON
@given(scored(), st.sampled_from([0.5, 1.0]))
def test_group_statistics_against_loops(case, threshold):
    rewards, accuracies, group_ids = case
    groups = [[row for row, its in enumerate(group_ids) if its == group] for group in set(group_ids)]
    found = group_statistics(torch.tensor(rewards), torch.tensor(accuracies), torch.tensor(group_ids), threshold)
    expected = {
        "group/all_success": mean(all(accuracies[row] >= threshold for row in rows) for rows in groups),
        "group/all_fail": mean(all(accuracies[row] < threshold for row in rows) for rows in groups),
        "group/degenerate": mean(len({rewards[row] for row in rows}) == 1 for rows in groups),
        "reward/accuracy": mean(accuracies),
    }
    assert found == pytest.approx(expected)


def test_zero_share_counts_response_tokens():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    reward = torch.tensor([1.0, 1.0])
    ids = torch.tensor([0, 0])
    for advantages, expected in [
        (torch.tensor([0.0, 0.5]), 0.75),
        (torch.tensor([[0.5], [0.0]]), 0.25),
        (torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), 0.25),
    ]:
        found = group_statistics(reward, reward, ids, advantages=advantages, response_mask=mask)
        assert found["adv/zero_share"] == expected


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="one shape"):
        group_statistics(torch.zeros(2), torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="both"):
        group_statistics(torch.zeros(2), torch.zeros(2), torch.zeros(2), advantages=torch.zeros(2))


def test_echo_metrics_by_hand():
    step_ids = torch.tensor([[0, 0, 1, -1], [0, 0, -1, -1], [-1, -1, -1, -1]])
    entropy = torch.tensor([[0.2, 0.4, 0.9, 5.0], [0.5, 0.1, 5.0, 5.0], [5.0] * 4])
    yes = torch.tensor([True, True, False])
    clips = mine_echo_clips(entropy, step_ids, torch.tensor([0, 1, 2]), yes, EchoConfig())
    found = echo_metrics(clips, step_ids, entropy, torch.tensor([4, 4, 1]))
    assert found == pytest.approx(
        {
            "echo/clips": 2,
            "echo/clip_tokens": 2.5,  # 3 and 2
            "echo/clip_share": (3 / 4 + 2 / 4) / 2,
            "echo/clip_step_entropy": (0.9 + 0.3) / 2,
            "echo/verified": 2,
            "echo/left_out_truncated": 0,
            "echo/left_out_mixed": 0,
            "echo/left_out_short": 0,
            "echo/step_entropy_max": 0.9,
            "echo/step_entropy_mean": (0.3 + 0.9 + 0.3) / 3,
            "echo/steps_per_rollout": 1.0,
        }
    )
    assert set(found) < set(METRIC_NAMES)
    assert all(type(value) is float for value in found.values())


def test_the_clips_own_step_entropy_is_not_the_highest_of_all_rollouts():
    """The surest wrong rollout has the most uncertain step: no clip ends there."""
    step_ids = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]])
    entropy = torch.tensor([[0.2, 0.2, 0.1, 0.1], [3.0] * 4, [0.3, 0.5, 0.0, 0.0]])
    verified = torch.tensor([True, False, True])
    clips = mine_echo_clips(entropy, step_ids, torch.tensor([0, 0, 1]), verified, EchoConfig())
    found = echo_metrics(clips, step_ids, entropy, torch.tensor([4, 4, 4]))
    assert found["echo/clip_step_entropy"] == pytest.approx((0.2 + 0.4) / 2)
    assert found["echo/step_entropy_max"] == 3.0


@pytest.mark.parametrize(
    ("config", "truncated", "left_out"),
    [
        ({}, [True, True, True, False], {"truncated": 3}),
        ({"include_truncated": True, "min_step_tokens": 5}, [True, True, True, False], {"short": 3}),
        ({"apply_to": "degenerate"}, [True, False, False, False], {"truncated": 1, "mixed": 2}),
        ({"min_step_tokens": 3}, [False, True, False, False], {"truncated": 1, "short": 2}),
    ],
)
def test_what_no_clip_may_be_taken_from_is_counted_once(config, truncated, left_out):
    step_ids = torch.tensor([[0, 0, 1, 1]] * 4)
    entropy, verified = torch.rand(4, 4), torch.tensor([True, True, True, False])
    clips = mine_echo_clips(
        entropy, step_ids, torch.zeros(4), verified, EchoConfig(**config), truncated=torch.tensor(truncated)
    )
    found = echo_metrics(clips, step_ids, entropy, torch.full((4,), 4))
    assert found["echo/clips"] == 0 and found["echo/verified"] == 3
    assert not {"echo/clip_step_entropy", "echo/clip_tokens", "echo/clip_share"} & set(found)
    names = ("truncated", "mixed", "short")
    assert {name: found[f"echo/left_out_{name}"] for name in names} == dict.fromkeys(names, 0) | left_out


def test_rollouts_of_an_expert_are_not_among_the_verified():
    step_ids, entropy = torch.zeros(2, 3, dtype=torch.long), torch.rand(2, 3)
    own = torch.tensor([False, True])
    clips = mine_echo_clips(entropy, step_ids, torch.zeros(2), torch.tensor([True, False]), EchoConfig(), on_policy=own)
    assert echo_metrics(clips, step_ids, entropy, torch.full((2,), 3))["echo/verified"] == 0


def test_echo_metrics_of_nothing_are_0():
    step_ids = torch.full((2, 3), -1)
    nobody = torch.zeros(2, dtype=torch.bool)
    clips = mine_echo_clips(torch.zeros(2, 3), step_ids, torch.tensor([0, 0]), nobody, EchoConfig())
    found = echo_metrics(clips, step_ids, torch.zeros(2, 3), torch.tensor([3, 3]))
    assert set(found.values()) == {0.0}


def test_the_names_of_the_metrics():
    """Written out once more: dashboards and other engines rely on them."""
    assert set(METRIC_NAMES) == {
        "echo/loss",
        "echo/coef",
        "echo/clips",
        "echo/clip_tokens",
        "echo/clip_share",
        "echo/clip_step_entropy",
        "echo/verified",
        "echo/left_out_truncated",
        "echo/left_out_mixed",
        "echo/left_out_short",
        "echo/step_entropy_max",
        "echo/step_entropy_mean",
        "echo/steps_per_rollout",
        "echo/grad_share",
        "group/all_success",
        "group/all_fail",
        "group/degenerate",
        "adv/zero_share",
        "reward/accuracy",
        "actor/grad_norm",
        "actor/entropy",
    }


# Reinforce-Ada's choice of rows


def naive_rows(correct, group_ids, keep):
    kept = [False] * len(correct)
    for group in set(group_ids):
        rows = [row for row, its in enumerate(group_ids) if its == group]
        positive, negative = ([row for row in rows if correct[row] is kind] for kind in (True, False))
        take_positive = min(len(positive), keep // 2)
        take_negative = min(len(negative), keep - take_positive)
        take_positive = min(len(positive), keep - take_negative)  # filled up where negative ones are short
        take_negative = min(len(negative), keep - take_positive)
        for row in positive[:take_positive] + negative[:take_negative]:
            kept[row] = True
    return kept


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([7, -2, 3])), min_size=1, max_size=24), st.integers(2, 6))
def test_balanced_rows_against_a_loop(rows, keep):
    correct, group_ids = zip(*rows, strict=True)
    found = balanced_rows(torch.tensor(correct), torch.tensor(group_ids), keep)
    assert found.tolist() == naive_rows(correct, group_ids, keep)


def test_half_and_half_the_first_of_each_kind():
    correct = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0]).bool()
    assert balanced_rows(correct, torch.zeros(8), 4).nonzero().flatten().tolist() == [0, 1, 3, 4]
    assert balanced_rows(torch.tensor([0, 0, 0, 0, 0, 1]).bool(), torch.zeros(6), 4).tolist() == [1, 1, 1, 0, 0, 1]


def test_sampling_goes_on_until_both_kinds_are_there():
    correct = torch.tensor([1, 1, 0, 0, 1, 1, 1, 0, 0, 0]).bool()
    groups = torch.tensor([5, 5, 5, 5, 2, 2, 2, 2, 9, 9])
    assert has_positive_and_negative(correct, groups, 4).tolist() == [False, True, False]  # of groups 2, 5, 9
    assert has_positive_and_negative(correct, groups, 2).tolist() == [True, True, False]
