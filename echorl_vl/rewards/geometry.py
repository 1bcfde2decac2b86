"""The reward of the shipped configurations: is the last \\boxed answer correct, and is the response a worked solution?

A reward file in EasyR1's interface, for EasyR1 and for `RewardManager`:

    worker.reward.reward_function: echorl_vl/rewards/geometry.py:compute_score

`accuracy` and `format` are separate parts of the score; overall = (1 - format_weight) * accuracy + format_weight *
format. EchoRL's `verified` depends on `accuracy` only. Expressions with variables are graded in worker processes under
a time limit, all other answers here: numbers in microseconds, roots and logarithms in milliseconds.
"""

from __future__ import annotations

from typing import Any

from echorl_vl.answers.equality import TOLERANCE, Options
from echorl_vl.answers.extract import count_boxes, last_box, last_boxed, without_reasoning
from echorl_vl.answers.grading import PooledGrade, decide, grade
from echorl_vl.answers.grading import warm_up as warm_up  # hook: called in each worker before its first row
from echorl_vl.rewards import worker
from echorl_vl.rewards.pool import GradingPool

REWARD_NAME = "geometry"
REWARD_TYPE = "batch"

FORMATS = ("boxed", "think")

_pools: dict[float, GradingPool] = {}


def compute_score(
    reward_inputs: list[dict[str, Any]],
    format_weight: float = 0.1,
    tolerance: float = TOLERANCE,
    format: str = "boxed",
    time_limit: float = 10.0,
    units: str = "optional",
    rounded_integers: bool = False,
) -> list[dict[str, float]]:
    """Score a batch of responses.

    Args:
        reward_inputs: dicts with "response" and "ground_truth".
        format_weight: weight of the format in "overall", 0 to 1.
        tolerance: of rounded answers, see `answers.equality`.
        format: the required format, one of `FORMATS`, see `is_worked_solution`.
        time_limit: seconds per answer, used where this function starts its own workers, as in EasyR1.
        units: "optional", or "required": an answer without the unit of the ground truth is incorrect.
        rounded_integers: whether an integer is accepted as a rounded answer, such as 5 for 3\\sqrt{3}.

    Returns:
        A dict with "overall", "accuracy" and "format" per response, all from 0 to 1.

    Raises:
        ValueError: a ground truth is empty, or an argument is invalid.
    """
    _check(format_weight, format)
    options = Options(tolerance, units=units, rounded_integers=rounded_integers)
    answers = [boxed_answer(row["response"]) for row in reward_inputs]
    verdicts = [
        decide(answer, row["ground_truth"], options) for answer, row in zip(answers, reward_inputs, strict=True)
    ]
    open_rows = [row for row, verdict in enumerate(verdicts) if verdict is None]
    items = [(answers[row], reward_inputs[row]["ground_truth"], options) for row in open_rows]
    for row, verdict in zip(open_rows, _grade_all(items, time_limit), strict=True):
        verdicts[row] = verdict
    return [
        _score(row["response"], bool(verdict), format_weight, format)
        for row, verdict in zip(reward_inputs, verdicts, strict=True)
    ]


def quick_score(
    reward_input: dict[str, Any],
    format_weight: float = 0.1,
    tolerance: float = TOLERANCE,
    format: str = "boxed",
    time_limit: float = 10.0,
    units: str = "optional",
    rounded_integers: bool = False,
) -> dict[str, float] | None:
    """Score one response at once; None if expressions with variables have to be compared.

    `RewardManager` calls this hook for many rows at once and scores the undecided rows one by one.
    """
    _check(format_weight, format)
    options = Options(tolerance, units=units, rounded_integers=rounded_integers)
    verdict = decide(boxed_answer(reward_input["response"]), reward_input["ground_truth"], options)
    return None if verdict is None else _score(reward_input["response"], verdict, format_weight, format)


def is_worked_solution(response: str, format: str = "boxed") -> bool:
    """Whether a response has the required format.

    "boxed": at least one line of reasoning, then exactly one \\boxed{...} in the last line, followed only by the end of
    its formula or sentence. "think": `<think>reasoning</think>`, followed by exactly one \\boxed{...}.
    """
    box = last_box(response)
    if box is None or not box.content:
        return False
    if format == "think":
        reasoning, closing, answer = response.strip().partition("</think>")
        return (
            reasoning.startswith("<think>")
            and bool(reasoning.removeprefix("<think>").strip())
            and bool(closing)
            and "think>" not in answer
            and count_boxes(answer) == 1
        )
    before = response[: box.start].split("\n")[:-1]
    return (
        any(line.strip(" \t\r$[\\") for line in before)
        and count_boxes(response) == 1
        and response[box.end :].strip(" \t\r\n.$*") in ("", "\\]", "\\)")
    )


def boxed_answer(response: str) -> str | None:
    """The content of the last box after the reasoning (`<think>...</think>`), None if there is none."""
    return last_boxed(without_reasoning(response))


def _score(response: str, correct: bool, format_weight: float, format: str) -> dict[str, float]:
    accuracy, form = float(correct), float(is_worked_solution(response, format))
    return {"overall": (1 - format_weight) * accuracy + format_weight * form, "accuracy": accuracy, "format": form}


def _check(format_weight: float, format: str) -> None:
    if not 0 <= format_weight <= 1:
        raise ValueError(f"format_weight: expected a number from 0 to 1, got {format_weight}")
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")


def _grade_all(items: list[tuple[str, str, Options]], time_limit: float) -> list[bool]:
    if not items:
        return []
    if worker.INSIDE:  # this code runs in a worker, whose pool has a limit
        return [grade(*item) for item in items]
    if time_limit not in _pools:
        _pools[time_limit] = GradingPool(PooledGrade(), workers=1, time_limit=time_limit)
    outcomes = _pools[time_limit].map(items)
    for item, outcome in zip(items, outcomes, strict=True):
        if outcome.kind == "error":
            raise RuntimeError(f"grading {item[0][:80]!r} against {item[1]!r}: {outcome.detail}\n{outcome.trace}")
    return [outcome.kind == "ok" and outcome.value for outcome in outcomes]
