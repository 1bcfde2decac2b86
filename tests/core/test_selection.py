"""Reinforce-Ada's choice of rows and DAPO's overlong penalty, against loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echorl_vl.core import balanced_rows, has_positive_and_negative, overlong_penalty


def naive_rows(correct, group_ids, keep):
    kept = [False] * len(correct)
    for group in set(group_ids):
        rows = [row for row, its in enumerate(group_ids) if its == group]
        right, wrong = ([row for row in rows if correct[row] is kind] for kind in (True, False))
        take_right = min(len(right), keep // 2)
        take_wrong = min(len(wrong), keep - take_right)
        take_right = min(len(right), keep - take_wrong)  # filled up where wrong ones are short
        take_wrong = min(len(wrong), keep - take_right)
        for row in right[:take_right] + wrong[:take_wrong]:
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


def test_the_overlong_penalty_is_dapos():
    lengths = torch.tensor([10, 80, 81, 90, 99, 100, 120])
    expected = [0.0, 0.0, -0.05, -0.5, -0.95, -1.0, -1.0]
    torch.testing.assert_close(overlong_penalty(lengths, 100, 20), torch.tensor(expected))
    torch.testing.assert_close(overlong_penalty(lengths, 100, 20, factor=0.5), torch.tensor(expected) / 2)
    with pytest.raises(ValueError, match="1 to 100 tokens"):
        overlong_penalty(lengths, 100, 101)
