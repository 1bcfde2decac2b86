"""UFT's hints: pieces, schedule, and the distribution of the sampled number of pieces."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echorl_vl.core import draw_pieces, hint_probability, piece_ends


def naive_ends(lengths: list[int], most: int) -> list[int]:
    """UFT's rule: the first i pieces have round(i n / pieces) of the n steps before the answer."""
    hintable = lengths[:-1]
    pieces = min(most, len(hintable))
    return [sum(hintable[: round(i / pieces * len(hintable))]) for i in range(1, pieces + 1)]


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 7))
def test_pieces_are_balanced_whole_steps_without_the_answer(lengths, most):
    ends = piece_ends(lengths, most)
    assert ends == naive_ends(lengths, most)
    assert len(ends) == min(most, max(len(lengths) - 1, 0))
    steps = [sum(lengths[:count]) for count in range(len(lengths) + 1)]
    counts = [steps.index(end) for end in [0, *ends]]
    sizes = [after - before for before, after in itertools.pairwise(counts)]
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert not ends or ends[-1] == sum(lengths[:-1])


def test_step_ids_give_the_same_pieces_as_lengths():
    lengths = [3, 1, 4, 1, 5, 9, 2]
    ids = torch.arange(7).repeat_interleave(torch.tensor(lengths))
    assert piece_ends(ids) == piece_ends(lengths) == naive_ends(lengths, 5)
    # A special token at the start, one inside a step and the end of turn belong to no step.
    assert piece_ends(torch.tensor([-1, 0, 0, -1, 0, 1, 1, 2, -1])) == [5, 7]
    assert piece_ends(torch.tensor([0, 0, -1])) == piece_ends(torch.tensor([-1])) == piece_ends([]) == []


def test_invalid_arguments_are_errors():
    with pytest.raises(ValueError, match="one demonstration"):
        piece_ends(torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="most >= 1"):
        piece_ends([1, 2], 0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        draw_pieces(torch.tensor([1]), 1.5)


def test_the_probability_falls_along_a_half_cosine_and_then_is_0():
    assert hint_probability(0) == 0.95
    assert hint_probability(150) == pytest.approx(0.5)
    assert hint_probability(75) == pytest.approx(0.05 + 0.45 * (1 + math.sqrt(0.5)))
    assert hint_probability(300) == pytest.approx(0.05)
    assert hint_probability(301) == hint_probability(500) == hint_probability(1, anneal_steps=0) == 0.0
    values = [hint_probability(step) for step in range(1, 302)]
    assert values == sorted(values, reverse=True)
    assert hint_probability(5, start=0.8, end=0.2, anneal_steps=10) == pytest.approx(0.5)


@pytest.mark.parametrize("step", [1, 75, 150, 290])
@pytest.mark.parametrize("pieces", [1, 3, 5])
def test_sampled_counts_are_binomial(step, pieces):
    p, draws = hint_probability(step), 20_000
    kept = draw_pieces(torch.full((draws,), pieces), p, torch.Generator().manual_seed(step + pieces))
    observed = torch.bincount(kept, minlength=pieces + 1).double()
    expected = torch.tensor([draws * math.comb(pieces, k) * p**k * (1 - p) ** (pieces - k) for k in range(pieces + 1)])
    # The chi-square test requires at least five expected draws per cell: smaller cells are merged with the next larger.
    cells = [(0.0, 0.0)]
    for o, e in sorted(zip(observed.tolist(), expected.tolist(), strict=True), key=lambda pair: pair[1]):
        cells = [*cells[:-1], (cells[-1][0] + o, cells[-1][1] + e)] if cells[-1][1] < 5 else [*cells, (o, e)]
    statistic = sum((o - e) ** 2 / e for o, e in cells)
    # Quantile of chi-square at 1 - 1e-4 (Wilson and Hilferty).
    freedom = len(cells) - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit


def test_samples_depend_on_the_seed_and_stay_in_range():
    counts = torch.tensor([0, 1, 2, 3, 4, 5]).repeat(200)
    draws = [draw_pieces(counts, 0.5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert draws[0].dtype == torch.int64 and bool((draws[0] <= counts).all()) and bool((draws[0] >= 0).all())
    assert torch.equal(draw_pieces(counts, 0.0), torch.zeros_like(counts))
    assert torch.equal(draw_pieces(counts, 1.0), counts)
