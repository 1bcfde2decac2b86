"""The reward of GSM8K's custom: is the last number of the response the answer?

    worker.reward.reward_function: echorl_vl/rewards/last_number.py:compute_score

For models that don't put their answers in \\boxed{...}. Dollar signs and commas between thousands count for nothing.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

REWARD_NAME = "last_number"
REWARD_TYPE = "sequential"

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|(?<![\w.])-?\d+(?:\.\d+)?")


def last_number(text: str) -> Decimal | None:
    """The last number written in digits, exactly, however many; None if there is none. The dash of "5-3" is no sign."""
    found = _NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def compute_score(reward_input: dict[str, Any]) -> dict[str, float]:
    """{"overall", "accuracy"} of {"response", "ground_truth", ...}, both 0 or 1.

    Raises ValueError for a ground truth without a number.
    """
    expected = last_number(str(reward_input["ground_truth"]))
    if expected is None:
        raise ValueError(f"ground_truth: expected a number, got {reward_input['ground_truth']!r}")
    correct = float(last_number(reward_input["response"]) == expected)
    return {"overall": correct, "accuracy": correct}
