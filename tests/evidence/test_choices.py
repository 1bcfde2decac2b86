"""Clips moved to other steps: the same group, weight and length, held to a naive reference."""

from __future__ import annotations

import pytest
import torch

from echorl_vl.core import EchoConfig, mine_echo_clips
from echorl_vl.evidence.choices import CHOICES, main, moved_clips, overlap

GROUPS, ROWS, LENGTH = 6, 4, 24


def batch(seed: int = 0):
    """Rollouts of random steps and entropies; some tokens are no text, some rollouts are wrong."""
    rng = torch.Generator().manual_seed(seed)
    rows = GROUPS * ROWS
    entropy = torch.rand(rows, LENGTH, generator=rng)
    step_ids = torch.full((rows, LENGTH), -1)
    for row in range(rows):
        length = int(torch.randint(6, LENGTH + 1, (), generator=rng))
        cuts = torch.rand(length, generator=rng) < 0.3
        cuts[0] = False
        step_ids[row, :length] = cuts.long().cumsum(0)
        step_ids[row, int(torch.randint(1, length - 1, (), generator=rng))] = -1  # a token that is not text
        inside = step_ids[row] >= 0
        _, renumbered = step_ids[row][inside].unique(return_inverse=True)
        step_ids[row][inside] = renumbered
    groups = torch.arange(GROUPS).repeat_interleave(ROWS)
    verified = torch.rand(rows, generator=rng) < 0.6
    return entropy, step_ids, groups, verified


def moved(choice: str, config: EchoConfig | None = None, seed: int = 0, draw: int = 0):
    config = config or EchoConfig()
    entropy, step_ids, groups, verified = batch(seed)
    clips = mine_echo_clips(entropy, step_ids, groups, verified, config)
    rng = torch.Generator().manual_seed(draw)
    found = moved_clips(clips, entropy, step_ids, groups, verified, choice, rng, config.min_step_tokens)
    return clips, found, (entropy, step_ids, groups, verified)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("least", [1, 3])
def test_the_step_of_highest_entropy_gives_the_papers_clips_again(seed, least):
    clips, found, _ = moved("highest", EchoConfig(min_step_tokens=least), seed)
    assert len(clips) >= 4
    for name in ("rows", "ends", "lengths", "weights"):
        assert torch.equal(getattr(found, name), getattr(clips, name)), name
    assert torch.allclose(found.step_entropies, clips.step_entropies)
    assert torch.allclose(found.token_weights, clips.token_weights)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_overlap_is_the_share_of_the_papers_weight_on_the_same_tokens(choice):
    clips, found, _ = moved(choice)
    pairs = zip(clips.token_weights.flatten().tolist(), found.token_weights.flatten().tolist(), strict=True)
    wanted = sum(min(own, other) for own, other in pairs) / len(clips)
    assert overlap(clips, found) == pytest.approx(wanted)
    assert (wanted == pytest.approx(1.0)) == (choice == "highest")


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("seed", range(3))
def test_groups_lengths_and_weights_stay(choice, seed):
    clips, found, (_, step_ids, groups, verified) = moved(choice, seed=seed, draw=seed)
    assert sorted(groups[found.rows].tolist()) == sorted(groups[clips.rows].tolist())
    assert verified[found.rows].all()
    by_group = dict(zip(groups[clips.rows].tolist(), clips.lengths.tolist(), strict=True))
    for row, end, length in zip(found.rows.tolist(), found.ends.tolist(), found.lengths.tolist(), strict=True):
        assert length == by_group[int(groups[row])]
        inside = found.token_weights[row].nonzero().squeeze(1)
        assert len(inside) == length and int(inside[-1]) == end
        assert (step_ids[row][inside] >= 0).all()
        text = (step_ids[row] >= 0).nonzero().squeeze(1).tolist()
        first = text.index(int(inside[0]))
        assert inside.tolist() == text[first : first + length]  # one run of text tokens
        assert found.token_weights[row].sum() == pytest.approx(1.0)
    assert found.token_weights.sum() == pytest.approx(clips.token_weights.sum().item())


def test_the_lowest_step_is_found_by_looking_at_every_step():
    _, found, (entropy, step_ids, groups, verified) = moved("lowest")
    for row, length, own in zip(
        found.rows.tolist(), found.lengths.tolist(), found.step_entropies.tolist(), strict=True
    ):
        lowest = min(
            entropy[other][step_ids[other] == step].mean().item()
            for other in range(len(groups))
            if groups[other] == groups[row] and verified[other] and (step_ids[other] >= 0).sum() >= length
            for step in range(int(step_ids[other].max()) + 1)
        )
        assert own == pytest.approx(lowest)


def test_first_is_a_beginning_and_last_is_an_end():
    _, first, (_, step_ids, _, _) = moved("first")
    for row, length in zip(first.rows.tolist(), first.lengths.tolist(), strict=True):
        text = (step_ids[row] >= 0).nonzero().squeeze(1)
        step = int((step_ids[row] == 0).sum())
        inside = first.token_weights[row].nonzero().squeeze(1).tolist()
        stop = max(step, length)  # a first step longer than the clip: the clip is its end
        assert inside == text[stop - length : stop].tolist()
    _, last, (_, step_ids, _, _) = moved("last")
    for row, length in zip(last.rows.tolist(), last.lengths.tolist(), strict=True):
        text = (step_ids[row] >= 0).nonzero().squeeze(1)
        assert last.token_weights[row].nonzero().squeeze(1).tolist() == text[-length:].tolist()


def test_random_takes_every_step_equally_often():
    entropy, step_ids = torch.rand(2, 8), torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1]])
    groups, verified = torch.tensor([0, 0]), torch.tensor([True, True])
    entropy[0, :2] += 5  # the paper's clip: the first step of the first row, two tokens
    clips = mine_echo_clips(entropy, step_ids, groups, verified, EchoConfig())
    assert clips.lengths.tolist() == [2]
    rng, draws, counts = torch.Generator().manual_seed(0), 1200, {}
    for _ in range(draws):
        one = moved_clips(clips, entropy, step_ids, groups, verified, "random", rng)
        place = (int(one.rows[0]), int(one.ends[0]))
        counts[place] = counts.get(place, 0) + 1
    assert set(counts) == {(0, 1), (0, 3), (0, 5), (0, 7), (1, 3), (1, 7)}
    assert all(abs(count - draws / 6) < 60 for count in counts.values())


def test_short_steps_are_not_drawn():
    entropy, step_ids = torch.rand(1, 8), torch.tensor([[0, 1, 1, 1, 2, 3, 3, 3]])
    one = torch.tensor([True])
    config = EchoConfig(min_step_tokens=2)
    clips = mine_echo_clips(entropy, step_ids, torch.tensor([0]), one, config)
    rng = torch.Generator().manual_seed(0)
    ends = {
        int(moved_clips(clips, entropy, step_ids, torch.tensor([0]), one, "random", rng, 2).ends[0]) for _ in range(50)
    }
    assert ends <= {3, 7}


@pytest.mark.parametrize("draw", range(4))
def test_several_clips_of_a_group_add_up(draw):
    clips, found, (_, step_ids, _, _) = moved("random", EchoConfig(select="topk", k=3), draw=draw)
    assert len(found) == len(clips) and sorted(found.lengths.tolist()) == sorted(clips.lengths.tolist())
    weights = torch.zeros(step_ids.shape)
    columns = (found.rows.tolist(), found.ends.tolist(), found.lengths.tolist(), found.weights.tolist())
    for row, end, length, weight in zip(*columns, strict=True):
        text = (step_ids[row] >= 0).nonzero().squeeze(1)
        weights[row, text[text <= end][-length:]] += weight / length
    assert torch.allclose(found.token_weights, weights)


def test_without_a_verified_rollout_there_is_no_clip():
    entropy, step_ids, groups, verified = batch()
    nothing = torch.zeros_like(verified)
    clips = mine_echo_clips(entropy, step_ids, groups, nothing, EchoConfig())
    rng = torch.Generator().manual_seed(0)
    assert len(moved_clips(clips, entropy, step_ids, groups, nothing, "last", rng)) == 0


def test_the_draws_are_the_generators():
    def rows(draw):
        return moved("random", draw=draw)[1].ends.tolist()

    assert rows(3) == rows(3)
    assert any(rows(3) != rows(draw) for draw in range(4, 8))


def test_an_unknown_choice_is_named(capsys):
    assert main(["hihgest", "configs/math_tiny.yaml"]) == 2
    assert "found hihgest; wanted one of random, first, last, lowest, highest" in capsys.readouterr().err
