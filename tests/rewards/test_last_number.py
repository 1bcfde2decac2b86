"""The reward that reads the last number."""

from __future__ import annotations

import pytest

from echorl_vl.rewards.last_number import compute_score, last_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("no digits, seven", None),
        ("", None),
        ("First 3, then 12 left.", 12),
        ("12 - 5 = 7", 7),
        ("5-3", 3),
        ("It is -3", -3),
        ("x = -3.", -3),
        ("$1,234.50.", 1234.5),
        ("1, 2, 3", 3),
        ("12,345,678", 12345678),
        ("1,2345", 2345),
        ("#### 70,000", 70000),
        ("**18**", 18),
        ("\\boxed{18}.", 18),
        ("25% of them: 4.5 kg", 4.5),
    ],
)
def test_the_last_number_is_found(text: str, number: float | None) -> None:
    assert last_number(text) == number


def test_accuracy_compares_the_last_number_with_the_answer() -> None:
    def score(response: str, answer: str) -> float:
        found = compute_score({"response": response, "ground_truth": answer})
        assert found["overall"] == found["accuracy"]
        return found["accuracy"]

    assert score("So 1,000 in all.", "1000") == score("It is 2.50 dollars", "2.5") == 1.0
    assert score("18 at first, 19 then", "18") == score("none", "0") == 0.0
    with pytest.raises(ValueError, match="expected a number, got 'none'"):
        score("1", "none")
