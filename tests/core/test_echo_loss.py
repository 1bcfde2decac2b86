"""The echo term, its denominator and its schedule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from echorl_vl.core import EchoConfig, echo_coef, echo_denominator, echo_loss

COMMON = settings(deadline=None, max_examples=40, database=None)


def naive_echo_loss(log_probs, clips, prompts):
    """The formula, clip by clip; clips are (row, places, weight)."""
    total = 0.0
    for row, places, weight in clips:
        total = total + weight * -sum(log_probs[row, place] for place in places) / len(places)
    return total / prompts


@st.composite
def weighted_clips(draw):
    rows, length = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    places = st.sets(st.integers(0, length - 1), min_size=1).map(sorted)
    clip = st.tuples(st.integers(0, rows - 1), places, st.sampled_from([1.0, 0.5, 0.25]))
    return rows, length, draw(st.lists(clip, min_size=1, max_size=5))


@COMMON
@given(weighted_clips(), st.integers(1, 9))
def test_loss_and_gradient_equal_the_formula(case, prompts):
    rows, length, clips = case
    token_weights = torch.zeros(rows, length, dtype=torch.float64)
    for row, places, weight in clips:
        token_weights[row, places] += weight / len(places)
    values = -torch.rand(rows, length, dtype=torch.float64)
    ours, plain = values.clone().requires_grad_(), values.clone().requires_grad_()
    actual, expected = echo_loss(ours, token_weights, prompts), naive_echo_loss(plain, clips, prompts)
    torch.testing.assert_close(actual, expected)
    actual.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, plain.grad)


def test_log_probs_of_weight_0_are_never_read():
    log_probs = torch.tensor([[-1.0, -torch.inf], [torch.nan, -2.0]], requires_grad=True)
    loss = echo_loss(log_probs, torch.tensor([[0.5, 0.0], [0.0, 0.25]]), torch.tensor(2))
    loss.backward()
    assert loss.item() == 0.5
    assert log_probs.grad.tolist() == [[-0.25, 0.0], [0.0, -0.125]]


def test_without_clips_the_loss_and_its_gradient_are_0():
    log_probs = torch.randn(2, 3, requires_grad=True)
    loss = echo_loss(log_probs, torch.zeros(2, 3), 4)
    loss.backward()
    assert loss.item() == 0 and not log_probs.grad.any()


def test_the_denominator_counts_prompts_or_clips():
    assert echo_denominator(EchoConfig(), prompts=16, clips=5) == 16
    assert echo_denominator(EchoConfig(normalize_by="clips"), prompts=16, clips=5) == 5
    assert echo_denominator(EchoConfig(normalize_by="clips"), prompts=16, clips=0) == 1


def test_invalid_arguments_are_errors():
    with pytest.raises(ValueError, match="the same shape"):
        echo_loss(torch.zeros(2, 3), torch.zeros(2, 4), 1)
    for denominator in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="denominator > 0"):
            echo_loss(torch.zeros(2, 3), torch.zeros(2, 3), denominator)


def schedule(steps, **options):
    return [echo_coef(EchoConfig(coef=1.0, **options), step) for step in range(steps)]


def test_schedules_of_the_coefficient():
    assert schedule(3) == [1.0] * 3
    assert schedule(4, start_step=2) == [0.0, 0.0, 1.0, 1.0]
    assert schedule(6, start_step=1, warmup_steps=4) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert schedule(6, decay="linear", decay_steps=4) == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert schedule(5, warmup_steps=2, decay="linear", decay_steps=2) == [0.5, 1.0, 1.0, 0.5, 0.0]
    cosine = [0.5 + 0.5 * math.cos(math.pi * step / 4) for step in range(5)]
    assert schedule(6, decay="cosine", decay_steps=4) == pytest.approx([*cosine, 0.0])
    assert echo_coef(EchoConfig(), 10) == 0.001


@COMMON
@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from(["none", "linear", "cosine"]), st.integers(1, 9))
def test_the_coefficient_rises_to_coef_and_then_falls(start_step, warmup_steps, decay, decay_steps):
    values = schedule(40, start_step=start_step, warmup_steps=warmup_steps, decay=decay, decay_steps=decay_steps)
    assert all(0.0 <= value <= 1.0 for value in values) and max(values) == 1.0
    top = values.index(1.0)
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert values[-1] == pytest.approx(1.0 if decay == "none" else 0.0)
