"""Mining compared with loops over groups, rollouts, steps and tokens; its options; rollouts that are never mined."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import EchoConfig, mine_echo_clips, verified_rollouts

COMMON = settings(deadline=None, max_examples=60, database=None)


@dataclasses.dataclass
class Batch:
    entropy: torch.Tensor
    step_ids: torch.Tensor
    group_ids: torch.Tensor
    verified: torch.Tensor
    truncated: torch.Tensor
    on_policy: torch.Tensor
    rewards: torch.Tensor

    def mine_clips(self, config, **changes):
        return mine_echo_clips(**(vars(self) | {"config": config} | changes))


def make_batch(rows=8, length=12, groups=3, seed=0, levels=4):
    """A random ragged batch with few entropy levels, so that ties are common."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    ids = (uniform(rows, length) < 0.4).long().cumsum(1)
    ids = ids - ids[:, :1]
    ids = ids.masked_fill(uniform(rows, length) < 0.2, -1)  # visual tokens
    ids = ids.masked_fill(torch.arange(length) >= (uniform(rows, 1) * (length + 1)).long(), -1)  # padding
    return Batch(
        entropy=(uniform(rows, length) * levels).floor() / levels,
        step_ids=ids,
        group_ids=torch.randint(0, groups, (rows,), generator=generator) * 7 - 3,
        verified=uniform(rows) < 0.7,
        truncated=uniform(rows) < 0.2,
        on_policy=uniform(rows) < 0.8,
        rewards=(uniform(rows) < 0.8).float(),
    )


batches = st.builds(
    make_batch, rows=st.integers(1, 9), length=st.integers(1, 14), groups=st.integers(1, 4), seed=st.integers(0, 10**6)
)
configs = st.builds(
    EchoConfig,
    apply_to=st.sampled_from(["verified", "degenerate"]),
    select=st.sampled_from(["max", "topk"]),
    k=st.integers(1, 4),
    min_step_tokens=st.integers(1, 3),
    include_truncated=st.booleans(),
)


def naive_clips(batch, config):
    """[(row, end, length, entropy, weight)] and token weights, by nested loops."""
    rows, length = batch.step_ids.shape
    clips = []
    for group in sorted(set(batch.group_ids.tolist())):
        members = [row for row in range(rows) if batch.group_ids[row] == group]
        if config.apply_to == "degenerate" and len({batch.rewards[row].item() for row in members}) > 1:
            continue
        steps = []
        for row in members:
            cut_off = batch.truncated[row] and not config.include_truncated
            if not batch.verified[row] or not batch.on_policy[row] or cut_off:
                continue
            ids = batch.step_ids[row].tolist()
            for step in sorted(set(ids) - {-1}):
                places = [place for place in range(length) if ids[place] == step]
                mean = sum(batch.entropy[row, place].item() for place in places) / len(places)
                prefix = [place for place in range(places[-1] + 1) if ids[place] >= 0]
                if len(places) >= config.min_step_tokens:
                    steps.append((torch.tensor(mean).item(), row, step, places[-1], prefix))
        best = sorted(steps, key=lambda step: (-step[0], step[1], step[2]))
        count = config.k if config.select == "topk" else 1
        clips += [(row, end, prefix, mean, 1 / count) for mean, row, _, end, prefix in best[:count]]
    weights = torch.zeros(rows, length)
    for row, _, prefix, _, weight in clips:
        weights[row, prefix] += weight / len(prefix)
    return [(row, end, len(prefix), mean, weight) for row, end, prefix, mean, weight in sorted(clips)], weights


@COMMON
@given(batches, configs)
def test_clips_equal_those_of_loops(batch, config):
    expected, token_weights = naive_clips(batch, config)
    clips = batch.mine_clips(config)
    columns = (clips.rows, clips.ends, clips.lengths, clips.step_entropies)
    actual = list(zip(*(column.tolist() for column in columns), strict=True))
    assert actual == [clip[:4] for clip in expected]
    torch.testing.assert_close(clips.weights, torch.tensor([clip[4] for clip in expected], dtype=torch.float32))
    torch.testing.assert_close(clips.token_weights, token_weights)
    assert len(clips) == len(expected) and clips.token_weights.dtype == torch.float32


def two_rollouts():
    """Two verified rollouts of one prompt with three steps of two tokens; step 1 of row 1 has the highest entropy."""
    ids = torch.tensor([[0, 0, 1, 1, 2, 2]] * 2)
    entropy = torch.tensor([[0.1, 0.1, 0.2, 0.2, 0.3, 0.3], [0.0, 0.1, 0.5, 0.9, 0.4, 0.4]])
    true = torch.ones(2, dtype=torch.bool)
    return Batch(entropy, ids, torch.zeros(2, dtype=torch.int64), true, ~true, true, true.float())


def test_a_clip_is_the_prefix_that_ends_with_the_step_of_highest_entropy():
    clips = two_rollouts().mine_clips(EchoConfig())
    assert (clips.rows.tolist(), clips.ends.tolist(), clips.lengths.tolist()) == ([1], [3], [4])
    assert clips.step_entropies.item() == pytest.approx(0.7)
    assert clips.token_weights.tolist() == [[0.0] * 6, [0.25] * 4 + [0.0] * 2]


def test_ties_go_to_the_first_rollout_then_the_first_step():
    batch = two_rollouts()
    batch.entropy = torch.full_like(batch.entropy, 0.3)
    clips = batch.mine_clips(EchoConfig())
    assert (clips.rows.tolist(), clips.ends.tolist()) == ([0], [1])
    clips = batch.mine_clips(EchoConfig(select="topk", k=4))
    assert (clips.rows.tolist(), clips.ends.tolist()) == ([0, 0, 0, 1], [1, 3, 5, 1])


def test_visual_tokens_have_no_weight_and_do_not_count_in_lengths():
    batch = two_rollouts()
    batch.step_ids[1, 1] = -1  # a visual token of high entropy in the prefix
    batch.entropy[1, 1] = 50.0
    clips = batch.mine_clips(EchoConfig())
    assert (clips.ends.tolist(), clips.lengths.tolist()) == ([3], [3])
    assert clips.token_weights[1].tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3, 0, 0])


def test_demonstrations_are_never_mined():
    batch = two_rollouts()
    batch.on_policy = torch.tensor([True, False])
    assert batch.mine_clips(EchoConfig()).rows.tolist() == [0]
    batch.on_policy = torch.tensor([False, False])
    assert len(batch.mine_clips(EchoConfig())) == 0


@pytest.mark.parametrize(("include", "row"), [(False, 0), (True, 1)])
def test_truncated_rollouts_are_mined_only_with_include_truncated(include, row):
    batch = two_rollouts()
    batch.truncated = torch.tensor([False, True])
    assert batch.mine_clips(EchoConfig(include_truncated=include)).rows.tolist() == [row]


def test_no_verified_rollout_or_no_eligible_step_gives_no_clip():
    batch = two_rollouts()
    no_rollout = batch.mine_clips(EchoConfig(), verified=torch.zeros(2, dtype=torch.bool))
    no_step = batch.mine_clips(EchoConfig(min_step_tokens=3))
    no_token = batch.mine_clips(EchoConfig(), step_ids=torch.full((2, 6), -1))
    for select in ("topk", "softmax"):
        assert len(batch.mine_clips(EchoConfig(select=select), step_ids=torch.full((2, 6), -1))) == 0
    for clips in (no_rollout, no_step, no_token):
        assert len(clips) == 0 and not clips.token_weights.any() and clips.token_weights.shape == (2, 6)
        assert clips.ends.dtype == clips.lengths.dtype == clips.rows.dtype == torch.int64


@pytest.mark.parametrize("select", ["max", "topk", "softmax"])
def test_steps_with_an_entropy_of_nan_are_never_chosen(select):
    batch = two_rollouts()
    batch.entropy[:, 2:4] = torch.nan
    batch.entropy[0, 4:] = torch.nan
    clips = batch.mine_clips(EchoConfig(select=select, k=1, tau=1e-3))
    assert (clips.rows.tolist(), clips.ends.tolist()) == ([1], [5])


def test_a_prefix_includes_short_steps():
    batch = two_rollouts()
    batch.step_ids[1] = torch.tensor([0, 1, 1, 2, 2, 2])
    clips = batch.mine_clips(EchoConfig(min_step_tokens=3))
    assert (clips.rows.tolist(), clips.lengths.tolist()) == ([1], [6])


def test_degenerate_groups_are_found_by_reward_or_else_by_verification():
    config = EchoConfig(apply_to="degenerate")
    batch = two_rollouts()
    assert len(batch.mine_clips(config, rewards=torch.tensor([1.0, 0.9]))) == 0
    assert len(batch.mine_clips(config, rewards=torch.tensor([0.9, 0.9]))) == 1
    assert len(batch.mine_clips(config, rewards=None)) == 1
    assert len(batch.mine_clips(config, rewards=None, verified=torch.tensor([True, False]))) == 0


def test_topk_gives_each_clip_weight_1_over_k_and_adds_weights_of_shared_tokens():
    batch = two_rollouts()
    clips = batch.mine_clips(EchoConfig(select="topk", k=2))  # steps 1 and 2 of row 1
    assert (clips.rows.tolist(), clips.lengths.tolist(), clips.weights.tolist()) == ([1, 1], [4, 6], [0.5, 0.5])
    expected = [0.5 / 4 + 0.5 / 6] * 4 + [0.5 / 6] * 2
    assert clips.token_weights[1].tolist() == pytest.approx(expected)


def test_topk_with_k_1_equals_max():
    for seed in range(20):
        batch = make_batch(seed=seed)
        one, best = batch.mine_clips(EchoConfig(select="topk", k=1)), batch.mine_clips(EchoConfig())
        assert one.overlap is best.overlap is None
        columns = [name for name in vars(one) if name != "overlap"]
        assert all(torch.equal(getattr(one, name), getattr(best, name)) for name in columns)


def test_softmax_samples_steps_with_their_probabilities():
    batch = two_rollouts()
    config = EchoConfig(select="softmax", tau=0.25)
    generator = torch.Generator().manual_seed(1)
    draws = 1500
    counts = Counter()
    for _ in range(draws):
        clips = batch.mine_clips(config, generator=generator)
        assert len(clips) == 1 and clips.weights.tolist() == [1.0]
        counts[clips.rows.item(), clips.ends.item()] += 1
    means = {(0, 1): 0.1, (0, 3): 0.2, (0, 5): 0.3, (1, 1): 0.05, (1, 3): 0.7, (1, 5): 0.4}
    total = sum(math.exp(mean / 0.25) for mean in means.values())
    for step, mean in means.items():
        assert counts[step] / draws == pytest.approx(math.exp(mean / 0.25) / total, abs=0.045)


def test_softmax_depends_on_the_seed_alone():
    batch = make_batch(rows=9, length=30, groups=2, levels=50)
    config = EchoConfig(select="softmax", seed=3)
    same = [batch.mine_clips(config).ends.tolist() for _ in range(2)]
    assert same[0] == same[1]
    others = {tuple(batch.mine_clips(dataclasses.replace(config, seed=seed)).ends.tolist()) for seed in range(20)}
    assert len(others) > 1
    generator = torch.Generator().manual_seed(3)
    assert batch.mine_clips(config, generator=generator).ends.tolist() == same[0]


@COMMON
@given(batches, st.integers(0, 1000))
def test_softmax_samples_one_eligible_step_of_each_group_that_has_any(batch, seed):
    everything = batch.mine_clips(EchoConfig(select="topk", k=1000))
    sampled = batch.mine_clips(EchoConfig(select="softmax"), generator=torch.Generator().manual_seed(seed))
    eligible = set(zip(everything.rows.tolist(), everything.ends.tolist(), strict=True))
    assert set(zip(sampled.rows.tolist(), sampled.ends.tolist(), strict=True)) <= eligible
    groups = Counter(batch.group_ids[sampled.rows].tolist())
    assert groups == Counter(set(batch.group_ids[everything.rows].tolist()))


def test_a_rollout_is_verified_if_its_accuracy_reaches_the_threshold():
    accuracies = torch.tensor([0.0, 0.9, 1.0])
    assert verified_rollouts(accuracies, EchoConfig()).tolist() == [False, False, True]
    assert verified_rollouts(accuracies, EchoConfig(verify_threshold=0.9)).tolist() == [False, True, True]


def test_mismatched_shapes_are_errors():
    batch = two_rollouts()
    for name in ("group_ids", "verified", "truncated", "on_policy", "rewards"):
        with pytest.raises(ValueError, match=rf"{name} of shape \(2,\), got \(3,\)"):
            batch.mine_clips(EchoConfig(), **{name: torch.ones(3)})
    with pytest.raises(ValueError, match="the same shape"):
        batch.mine_clips(EchoConfig(), entropy=torch.zeros(2, 5))
