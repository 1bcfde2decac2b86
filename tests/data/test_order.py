"""The order of batches depends on seed and step only, and no problem is repeated in an epoch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echorl_vl.data.order import BatchOrder, epoch_order
from echorl_vl.errors import UserError


@given(size=st.integers(1, 60), data=st.data(), seed=st.integers(0, 2**32), shuffle=st.booleans())
def test_an_epoch_has_distinct_problems_and_full_batches(size, data, seed, shuffle):
    batch_size = data.draw(st.integers(1, size))
    order = BatchOrder(size, batch_size, seed, shuffle)
    for epoch in range(3):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        batches = [order.batch(step) for step in steps]
        assert all(len(batch) == batch_size for batch in batches)
        assert {order.epoch(step) for step in steps} == {epoch}
        flat = [index for batch in batches for index in batch]
        assert len(set(flat)) == len(flat) == size // batch_size * batch_size
        assert flat == epoch_order(size, seed, epoch, shuffle)[: len(flat)]


@given(steps=st.permutations(range(20)))
def test_a_step_does_not_depend_on_earlier_steps(steps):
    order = BatchOrder(17, 4, seed=3)
    assert {step: order.batch(step) for step in steps} == {step: BatchOrder(17, 4, 3).batch(step) for step in range(20)}


def test_epochs_and_seeds_have_different_permutations():
    orders = [epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(50, 0, 5, shuffle=False) == list(range(50))


def test_the_permutation_does_not_change():
    """Recorded values: a resumed run has the order of the run it resumes, with any version of Python."""
    assert epoch_order(8, 1, 0) == [1, 5, 4, 2, 7, 0, 3, 6]


@pytest.mark.parametrize(
    "size, batch_size, words", [(3, 4, ["3 problems", "takes 4"]), (3, 0, ["expected at least 1, got 0"])]
)
def test_a_set_smaller_than_a_batch_is_an_error(size, batch_size, words):
    with pytest.raises(UserError) as error:
        BatchOrder(size, batch_size)
    assert all(word in str(error.value) for word in words)
    with pytest.raises(ValueError, match="step: expected at least 0"):
        BatchOrder(4, 2).batch(-1)
