"""Selectors compared with loops over groups; clips as long as the paper's; custom selectors."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import SELECTORS, EchoConfig, SelectorError, echo_metrics, mine_echo_clips, register_selector
from echorl_vl.core.selectors import find_selector

COMMON = settings(deadline=None, max_examples=80, database=None)


def steps_of(seed=0, rows=8, length=5, groups=3, levels=4):
    """(step_entropy, eligible, groups) with ties, and some rows and groups without an eligible step."""
    rng = torch.Generator().manual_seed(seed)
    entropy = (torch.rand(rows, length, generator=rng) * levels).floor() / levels
    exists = torch.rand(rows, length, generator=rng) < 0.6
    eligible = exists & (torch.rand(rows, 1, generator=rng) < 0.7)
    _, index = torch.randint(0, groups, (rows,), generator=rng).unique(return_inverse=True)
    return entropy.masked_fill(~exists, math.nan), eligible, index


batches = st.builds(
    steps_of, seed=st.integers(0, 10**6), rows=st.integers(1, 9), length=st.integers(1, 6), groups=st.integers(1, 4)
)


def places(eligible, groups, group):
    """(row, step) of the eligible steps of a group, in order."""
    return [place for place in eligible.nonzero().tolist() if groups[place[0]] == group]


def naive(name, step_entropy, eligible, groups, config, generator):
    """[(row, step, weight)] by a loop over groups, with one random number per group."""
    chosen = []
    for group in range(int(groups.max()) + 1):
        members = places(eligible, groups, group)
        if not members:
            continue
        entropy = [step_entropy[row, step].item() for row, step in members]
        weight = 1.0
        if name in ("first", "last"):
            rows = sorted({row for row, _ in members})
            row = rows[int(torch.randint(len(rows), (), generator=generator))]
            steps = [step for other, step in members if other == row]
            picked = [(row, steps[0 if name == "first" else -1])]
        elif name == "random":
            picked = [members[int(torch.randint(len(members), (), generator=generator))]]
        elif name == "topk":
            order = sorted(range(len(members)), key=lambda place: -entropy[place])  # stable
            picked, weight = [members[place] for place in order[: config.k]], 1 / config.k
        else:
            quantile = {"max": 1.0, "lowest": 0.0}.get(name, config.quantile)
            value = sorted(entropy)[math.floor(quantile * (len(members) - 1) + 0.5)]
            picked = [members[entropy.index(value)]]
        chosen += [(row, step, pytest.approx(weight)) for row, step in picked]
    return sorted(chosen, key=lambda clip: clip[:2])


def choose(name, batch, config, generator):
    rows, steps, weights = SELECTORS[name](*batch, config, generator)
    assert rows.dtype == steps.dtype == torch.int64 and weights.dtype == torch.float32
    return sorted(zip(rows.tolist(), steps.tolist(), weights.tolist(), strict=True))


@COMMON
@given(
    batches,
    st.sampled_from(["max", "topk", "quantile", "lowest", "random", "first", "last"]),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]),
    st.integers(0, 99),
)
def test_choices_equal_those_of_a_loop_over_groups(batch, name, k, quantile, seed):
    config = EchoConfig(select=name, k=k, quantile=quantile)
    generator, other = (torch.Generator().manual_seed(seed) for _ in range(2))
    assert choose(name, batch, config, generator) == naive(name, *batch, config, other)
    assert torch.equal(generator.get_state(), other.get_state())  # the same random numbers, for reproducible runs


@COMMON
@given(batches, st.sampled_from([0.1, 1.0]), st.integers(0, 99))
def test_softmax_is_the_maximum_with_gumbel_noise(batch, tau, seed):
    step_entropy, eligible, groups = batch
    rng = torch.Generator().manual_seed(seed)
    noise = -torch.empty(step_entropy.shape, dtype=torch.float64).exponential_(generator=rng).log()
    score = (step_entropy.double() / tau + noise).masked_fill(~eligible, -math.inf)
    expected = []
    for group in range(int(groups.max()) + 1):
        if members := places(eligible, groups, group):
            row, step = max(members, key=lambda place: score[tuple(place)].item())
            expected.append((row, step, 1.0))
    config = EchoConfig(select="softmax", tau=tau)
    assert choose("softmax", batch, config, torch.Generator().manual_seed(seed)) == sorted(expected)


@COMMON
@given(batches)
def test_quantile_1_equals_max_and_quantile_0_equals_lowest(batch):
    rng = torch.Generator()
    for quantile, name in ((1.0, "max"), (0.0, "lowest")):
        config = EchoConfig(select="quantile", quantile=quantile)
        assert choose("quantile", batch, config, rng) == choose(name, batch, config, rng)


@pytest.mark.parametrize(("quantile", "step"), [(0.0, 3), (0.25, 1), (0.5, 4), (0.74, 2), (0.75, 2), (1.0, 0)])
def test_quantiles_of_five_steps(quantile, step):
    batch = torch.tensor([[0.9, 0.2, 0.7, 0.1, 0.5]]), torch.ones(1, 5, dtype=torch.bool), torch.tensor([0])
    config = EchoConfig(select="quantile", quantile=quantile)
    assert choose("quantile", batch, config, torch.Generator()) == [(0, step, 1.0)]


@pytest.mark.parametrize(("name", "choices"), [("random", 6), ("first", 2), ("last", 2)])
def test_random_choices_are_uniform(name, choices):
    eligible = torch.tensor([[True, True, True, True], [False, True, True, False]])
    batch = torch.rand(2, 4), eligible, torch.tensor([0, 0])
    rng, draws, counts = torch.Generator().manual_seed(0), 1200, Counter()
    for _ in range(draws):
        counts.update(clip[:2] for clip in choose(name, batch, EchoConfig(), rng))
    expected = draws / choices
    assert len(counts) == choices
    assert all(abs(count - expected) < 4 * math.sqrt(expected) for count in counts.values())


# Clips as long as the paper's


def rollouts_of(seed=0, groups=6, rows=4, length=24):
    """(entropy, step_ids, group_ids, verified) of rollouts with random steps and some tokens outside of text."""
    rng = torch.Generator().manual_seed(seed)
    entropy = torch.rand(groups * rows, length, generator=rng)
    step_ids = torch.full(entropy.shape, -1)
    for row in range(groups * rows):
        tokens = int(torch.randint(6, length + 1, (), generator=rng))
        cuts = torch.rand(tokens, generator=rng) < 0.3
        cuts[0] = False
        step_ids[row, :tokens] = cuts.long().cumsum(0)
        step_ids[row, int(torch.randint(1, tokens - 1, (), generator=rng))] = -1
        inside = step_ids[row] >= 0
        step_ids[row, inside] = step_ids[row, inside].unique(return_inverse=True)[1]
    verified = torch.rand(groups * rows, generator=rng) < 0.6
    return entropy, step_ids, torch.arange(groups).repeat_interleave(rows), verified


def mine(batch, config, draw=0, **others):
    return mine_echo_clips(*batch, config, generator=torch.Generator().manual_seed(draw), **others)


def naive_clips_as_long(batch, config, draw):
    """[(row, end, length, entropy)] and token weights, by a loop over the paper's clips."""
    entropy, step_ids, groups, verified = batch
    paper = mine(batch, EchoConfig(min_step_tokens=config.min_step_tokens))
    generator = torch.Generator().manual_seed(draw)
    clips, weights = [], torch.zeros(entropy.shape)
    for paper_row, length in zip(paper.rows.tolist(), paper.lengths.tolist(), strict=True):
        text = {row: (step_ids[row] >= 0).nonzero().squeeze(1).tolist() for row in range(len(groups))}
        rows = [row for row in text if groups[row] == groups[paper_row] and verified[row] and len(text[row]) >= length]
        means, eligible = torch.full((len(rows), 30), math.nan), torch.zeros(len(rows), 30, dtype=torch.bool)
        for number, row in enumerate(rows):
            for step in range(int(step_ids[row].max()) + 1):
                values = entropy[row][step_ids[row] == step].double()
                means[number, step] = values.mean().float()
                eligible[number, step] = len(values) >= config.min_step_tokens
        one_group = torch.zeros(len(rows), dtype=torch.long)
        [(number, step, _)] = naive(config.select, means, eligible, one_group, config, generator)
        row = rows[number]
        stop = max(sum(0 <= other <= step for other in step_ids[row].tolist()), length)
        inside = text[row][stop - length : stop]
        weights[row, inside] += 1 / length
        clips.append((row, inside[-1], length, means[number, step].item()))
    return clips, weights


@pytest.mark.parametrize("name", ["random", "first", "last", "lowest", "quantile", "max"])
@pytest.mark.parametrize("least", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_as_max_clips_equal_those_of_a_loop(name, least, seed):
    batch = rollouts_of(seed)
    config = EchoConfig(select=name, clip_tokens="as_max", quantile=0.6, min_step_tokens=least)
    clips, paper = mine(batch, config, seed), mine(batch, EchoConfig(min_step_tokens=least))
    expected, weights = naive_clips_as_long(batch, config, seed)
    columns = (clips.rows, clips.ends, clips.lengths, clips.step_entropies)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == sorted(expected)
    assert torch.equal(clips.token_weights, weights) and clips.weights.tolist() == [1.0] * len(expected)
    assert torch.equal(clips.candidates, paper.candidates)
    shared = torch.minimum(weights, paper.token_weights).sum() / paper.token_weights.sum()
    assert clips.overlap.item() == pytest.approx(shared.item())
    assert (name == "max") == (shared.item() == pytest.approx(1))


@pytest.mark.parametrize("seed", range(4))
def test_as_max_does_not_change_the_clips_of_max(seed):
    batch = rollouts_of(seed)
    as_max, paper = mine(batch, EchoConfig(clip_tokens="as_max")), mine(batch, EchoConfig())
    for name in ("rows", "ends", "lengths", "step_entropies", "weights", "token_weights"):
        assert torch.equal(getattr(as_max, name), getattr(paper, name)), name
    assert paper.overlap is None


def test_the_overlap_is_logged_only_with_as_max_and_clips():
    batch = rollouts_of()
    config, lengths = EchoConfig(select="last", clip_tokens="as_max"), (batch[1] >= 0).sum(1)
    clips = mine(batch, config)
    assert echo_metrics(clips, batch[1], batch[0], lengths)["echo/overlap_with_paper"] == clips.overlap.item() < 1
    nothing = mine((*batch[:3], torch.zeros_like(batch[3])), config)
    assert len(nothing) == 0 and "echo/overlap_with_paper" not in echo_metrics(nothing, batch[1], batch[0], lengths)
    paper = mine(batch, EchoConfig())
    assert "echo/overlap_with_paper" not in echo_metrics(paper, batch[1], batch[0], lengths)


def test_as_max_never_chooses_truncated_rollouts():
    batch = rollouts_of(1)
    truncated = torch.arange(len(batch[0])) % 2 == 0
    config = EchoConfig(select="random", clip_tokens="as_max")
    assert not truncated[mine(batch, config, truncated=truncated).rows].any()


def test_per_row_counts_the_clips_of_each_row():
    batch = rollouts_of()
    clips = mine(batch, EchoConfig(select="topk", k=3))
    assert clips.per_row.tolist() == [clips.rows.tolist().count(row) for row in range(len(batch[0]))]
    assert clips.per_row.sum() == len(clips) > 6


# Custom selectors


@pytest.fixture
def registry(monkeypatch):
    """Restores the registry after the test."""
    monkeypatch.setattr("echorl_vl.core.selectors.SELECTORS", dict(SELECTORS))
    monkeypatch.setattr("echorl_vl.core.selectors._FILES", {})


def test_registering_a_name_twice_is_an_error(registry):
    with pytest.raises(ValueError, match="a selector named 'max' already exists"):
        register_selector("max")(lambda *_: None)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda rows: (rows, rows, rows[:0].float()), r"same shape \(C,\), got \(1,\), \(1,\), \(0,\)"),
        (lambda rows: (rows, rows + 9, rows.float()), "expected eligible steps, got one that is not"),
        (lambda rows: (rows + 1, rows, rows.float()), "expected eligible steps, got one that is not"),
    ],
)
def test_invalid_results_of_a_selector_are_errors(registry, answer, message):
    register_selector("bad")(lambda *_: answer(torch.zeros(1, dtype=torch.long)))
    verified = torch.tensor([True, False])
    with pytest.raises(SelectorError, match=message):
        mine_echo_clips(torch.rand(2, 3), torch.zeros(2, 3).long(), torch.zeros(2), verified, EchoConfig(select="bad"))


def test_a_selector_is_loaded_from_a_file(registry, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from echorl_vl.core import register_selector\n"
        "@register_selector('second')\n"
        "def second(step_entropy, eligible, groups, config, generator): ...\n"
    )
    config = EchoConfig(select=f"{file}:second")
    assert find_selector(config.select) is find_selector("second")  # the file runs once
    assert find_selector(config.select).stream == "clip at the second step"
    with pytest.raises(
        ValueError, match=r"echo\.select is '.*:third': expected a selector that .* it registers second"
    ):
        EchoConfig(select=f"{file}:third")
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module\n")
    with pytest.raises(ValueError, match="can't be run: ModuleNotFoundError"):
        EchoConfig(select=f"{broken}:mine")
