"""A reward in GSM8K's style: is the last number of the response the answer?

    worker.reward.reward_function: echorl_vl/rewards/last_number.py:compute_score

For models that don't put their answers in \\boxed{...}. Dollar signs and thousands separators are ignored.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

REWARD_NAME = "last_number"
REWARD_TYPE = "sequential"

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|(?<![\w.])-?\d+(?:\.\d+)?")


def last_number(text: str) -> Decimal | None:
    """The last number in digits, with all of them; None if there is none. The dash of "5-3" is not a sign."""
    found = _NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def compute_score(reward_input: dict[str, Any]) -> dict[str, float]:
    """Score one response: "overall" and "accuracy" are both 0 or 1.

    Raises:
        ValueError: the ground truth has no number.
    """
    expected = last_number(str(reward_input["ground_truth"]))
    if expected is None:
        raise ValueError(f"ground_truth: expected a number, got {reward_input['ground_truth']!r}")
    correct = float(last_number(reward_input["response"]) == expected)
    return {"overall": correct, "accuracy": correct}
