"""Group statistics and echo metrics compared with loops, and the names of the metrics."""

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
def test_group_statistics_equal_those_of_a_loop(case, threshold):
    rewards, accuracies, group_ids = case
    groups = [[row for row, its in enumerate(group_ids) if its == group] for group in set(group_ids)]
    actual = group_statistics(torch.tensor(rewards), torch.tensor(accuracies), torch.tensor(group_ids), threshold)
    expected = {
        "group/all_success": mean(all(accuracies[row] >= threshold for row in rows) for rows in groups),
        "group/all_fail": mean(all(accuracies[row] < threshold for row in rows) for rows in groups),
        "group/degenerate": mean(len({rewards[row] for row in rows}) == 1 for rows in groups),
        "reward/accuracy": mean(accuracies),
    }
    assert actual == pytest.approx(expected)


def test_zero_share_counts_response_tokens():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    reward = torch.tensor([1.0, 1.0])
    ids = torch.tensor([0, 0])
    for advantages, expected in [
        (torch.tensor([0.0, 0.5]), 0.75),
        (torch.tensor([[0.5], [0.0]]), 0.25),
        (torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), 0.25),
    ]:
        statistics = group_statistics(reward, reward, ids, advantages=advantages, response_mask=mask)
        assert statistics["adv/zero_share"] == expected


def test_invalid_arguments_are_errors():
    with pytest.raises(ValueError, match="the same shape"):
        group_statistics(torch.zeros(2), torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="both"):
        group_statistics(torch.zeros(2), torch.zeros(2), torch.zeros(2), advantages=torch.zeros(2))


def test_echo_metrics_of_a_small_batch():
    step_ids = torch.tensor([[0, 0, 1, -1], [0, 0, -1, -1], [-1, -1, -1, -1]])
    entropy = torch.tensor([[0.2, 0.4, 0.9, 5.0], [0.5, 0.1, 5.0, 5.0], [5.0] * 4])
    verified = torch.tensor([True, True, False])
    clips = mine_echo_clips(entropy, step_ids, torch.tensor([0, 1, 2]), verified, EchoConfig())
    metrics = echo_metrics(clips, step_ids, entropy, torch.tensor([4, 4, 1]))
    assert metrics == pytest.approx(
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
    assert set(metrics) < set(METRIC_NAMES)
    assert all(type(value) is float for value in metrics.values())


def test_clip_step_entropy_covers_clips_and_step_entropy_max_covers_all_rollouts():
    """The step of highest entropy is in an incorrect rollout, where no clip ends."""
    step_ids = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]])
    entropy = torch.tensor([[0.2, 0.2, 0.1, 0.1], [3.0] * 4, [0.3, 0.5, 0.0, 0.0]])
    verified = torch.tensor([True, False, True])
    clips = mine_echo_clips(entropy, step_ids, torch.tensor([0, 0, 1]), verified, EchoConfig())
    metrics = echo_metrics(clips, step_ids, entropy, torch.tensor([4, 4, 4]))
    assert metrics["echo/clip_step_entropy"] == pytest.approx((0.2 + 0.4) / 2)
    assert metrics["echo/step_entropy_max"] == 3.0


@pytest.mark.parametrize(
    ("config", "truncated", "left_out"),
    [
        ({}, [True, True, True, False], {"truncated": 3}),
        ({"include_truncated": True, "min_step_tokens": 5}, [True, True, True, False], {"short": 3}),
        ({"apply_to": "degenerate"}, [True, False, False, False], {"truncated": 1, "mixed": 2}),
        ({"min_step_tokens": 3}, [False, True, False, False], {"truncated": 1, "short": 2}),
    ],
)
def test_each_rollout_left_out_is_counted_once(config, truncated, left_out):
    step_ids = torch.tensor([[0, 0, 1, 1]] * 4)
    entropy, verified = torch.rand(4, 4), torch.tensor([True, True, True, False])
    clips = mine_echo_clips(
        entropy, step_ids, torch.zeros(4), verified, EchoConfig(**config), truncated=torch.tensor(truncated)
    )
    metrics = echo_metrics(clips, step_ids, entropy, torch.full((4,), 4))
    assert metrics["echo/clips"] == 0 and metrics["echo/verified"] == 3
    assert not {"echo/clip_step_entropy", "echo/clip_tokens", "echo/clip_share"} & set(metrics)
    names = ("truncated", "mixed", "short")
    assert {name: metrics[f"echo/left_out_{name}"] for name in names} == dict.fromkeys(names, 0) | left_out


def test_demonstrations_do_not_count_as_verified():
    step_ids, entropy, verified = torch.zeros(2, 3, dtype=torch.long), torch.rand(2, 3), torch.tensor([True, False])
    on_policy = torch.tensor([False, True])
    clips = mine_echo_clips(entropy, step_ids, torch.zeros(2), verified, EchoConfig(), on_policy=on_policy)
    assert echo_metrics(clips, step_ids, entropy, torch.full((2,), 3))["echo/verified"] == 0


def test_echo_metrics_without_steps_are_0():
    step_ids = torch.full((2, 3), -1)
    verified = torch.zeros(2, dtype=torch.bool)
    clips = mine_echo_clips(torch.zeros(2, 3), step_ids, torch.tensor([0, 0]), verified, EchoConfig())
    metrics = echo_metrics(clips, step_ids, torch.zeros(2, 3), torch.tensor([3, 3]))
    assert set(metrics.values()) == {0.0}


def test_metric_names_do_not_change():
    """Dashboards and other engines rely on these names."""
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


# Row selection of Reinforce-Ada


def naive_rows(correct, group_ids, keep):
    kept = [False] * len(correct)
    for group in set(group_ids):
        rows = [row for row, its in enumerate(group_ids) if its == group]
        positive, negative = ([row for row in rows if correct[row] is label] for label in (True, False))
        take_positive = min(len(positive), keep // 2)
        take_negative = min(len(negative), keep - take_positive)
        take_positive = min(len(positive), keep - take_negative)  # more positive rows if there are few negative ones
        take_negative = min(len(negative), keep - take_positive)
        for row in positive[:take_positive] + negative[:take_negative]:
            kept[row] = True
    return kept


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([7, -2, 3])), min_size=1, max_size=24), st.integers(2, 6))
def test_balanced_rows_equal_those_of_a_loop(rows, keep):
    correct, group_ids = zip(*rows, strict=True)
    selected = balanced_rows(torch.tensor(correct), torch.tensor(group_ids), keep)
    assert selected.tolist() == naive_rows(correct, group_ids, keep)


def test_balanced_rows_are_the_first_correct_and_incorrect_ones():
    correct = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0]).bool()
    assert balanced_rows(correct, torch.zeros(8), 4).nonzero().flatten().tolist() == [0, 1, 3, 4]
    assert balanced_rows(torch.tensor([0, 0, 0, 0, 0, 1]).bool(), torch.zeros(6), 4).tolist() == [1, 1, 1, 0, 0, 1]


def test_a_group_needs_enough_correct_and_incorrect_rollouts():
    correct = torch.tensor([1, 1, 0, 0, 1, 1, 1, 0, 0, 0]).bool()
    groups = torch.tensor([5, 5, 5, 5, 2, 2, 2, 2, 9, 9])
    assert has_positive_and_negative(correct, groups, 4).tolist() == [False, True, False]  # of groups 2, 5, 9
    assert has_positive_and_negative(correct, groups, 2).tolist() == [True, True, False]
