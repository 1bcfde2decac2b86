"""The manager scores with users' reward files, valid and invalid ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from echorl_vl.errors import UserError
from echorl_vl.rewards import geometry
from echorl_vl.rewards.manager import RewardManager

# Like EasyR1's math reward: batch by default, graded with mathruler, format checked by a regular expression.
MATH = """
import re
from mathruler.grader import extract_boxed_content, grade_answer

REWARD_NAME = "math"
REWARD_TYPE = "batch"

def compute_score(reward_inputs, format_weight=0.1):
    results = []
    for entry in reward_inputs:
        good_form = bool(re.fullmatch(r"<think>.*</think>.*\\\\boxed\\{.*\\}.*", entry["response"], re.DOTALL))
        correct = grade_answer(extract_boxed_content(entry["response"]), entry["ground_truth"])
        total = (1 - format_weight) * correct + format_weight * good_form
        results.append({"overall": total, "format": float(good_form), "accuracy": float(correct)})
    return results
"""

SEQUENTIAL = """
REWARD_TYPE = "sequential"

def score(row, bonus=0.0):
    correct = row["response"] == row["ground_truth"]
    return {"overall": correct + bonus, "accuracy": correct, "length": row["response_length"], "nothing": None}
"""

# One function for both types, which does what the response says.
HOSTILE = """
import os, time
REWARD_TYPE = "{kind}"

def one(row, low=0.0):
    text = row["response"]
    if text == "hang":
        while True: pass
    if text == "exit": os._exit(1)
    if text == "raise": raise RuntimeError("a bug in the reward")
    if text == "nan": return {{"overall": float("nan"), "accuracy": 0.0}}
    if text == "text": return {{"overall": "high", "accuracy": 0.0}}
    if text == "number": return 1.0
    if text == "empty": return {{"accuracy": 1.0}}
    return {{"overall": 1.0 if text == "good" else low, "accuracy": float(text == "good")}}

def many(rows, low=0.0):
    if len(rows) > 1 and any(row["response"] == "crowd" for row in rows): raise RuntimeError("too many rows")
    return [one(row, low) for row in rows]

def short(rows): return [one(row) for row in rows][:-1]

def no_list(rows): return {{"overall": 1.0}}

main = many
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], RewardManager]]:
    """Managers of the hostile file, one per type and function, since starting workers takes longer than scoring."""
    made: dict[tuple[str, str], RewardManager] = {}

    def manager(kind: str, name: str) -> RewardManager:
        if (kind, name) not in made:
            file = _file(tmp_path_factory.mktemp(kind), HOSTILE.format(kind=kind))
            made[kind, name] = RewardManager(f"{file}:{name}", {}, 1, 5.0)
        return made[kind, name]

    yield manager
    for one in made.values():
        one.close()


def _file(folder: Path, text: str, name: str = "reward.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def _score(manager: RewardManager, *responses: str, truth: str = "5") -> list[dict[str, float]]:
    return manager.score(list(responses), [7] * len(responses), [truth] * len(responses))


def test_an_easyr1_file_works_unchanged(tmp_path: Path) -> None:
    with RewardManager(_file(tmp_path, MATH) + ":compute_score", {"format_weight": 0.5}, 1, 20.0) as manager:
        assert manager.name == "math"
        scores = _score(manager, "<think>3</think>\\boxed{5}", "\\boxed{5}", "<think>3</think>\\boxed{4}", "5")
    assert [score["overall"] for score in scores] == [1.0, 0.5, 0.5, 0.0]
    assert [score["accuracy"] for score in scores] == [1, 1, 0, 0]
    assert [score["format"] for score in scores] == [1, 0, 1, 0]


def test_a_sequential_file_works(tmp_path: Path) -> None:
    with RewardManager(_file(tmp_path, SEQUENTIAL) + ":score", {"bonus": 0.5}, 2, 5.0) as manager:
        scores = _score(manager, "5", "4")
    assert scores == [
        {"overall": 1.5, "accuracy": 1.0, "length": 7.0},
        {"overall": 0.5, "accuracy": 0.0, "length": 7.0},
    ]


@pytest.mark.parametrize("kind", ["batch", "sequential"])
def test_only_rows_at_fault_get_zero(tmp_path: Path, kind: str) -> None:
    name = "many" if kind == "batch" else "one"
    with RewardManager(_file(tmp_path, HOSTILE.format(kind=kind)) + f":{name}", {}, 2, 2.0) as manager:
        scores = _score(manager, "good", "hang", "good", "exit", "bad")
        assert [score["overall"] for score in scores] == [1, 0, 1, 0, 0]
        assert [score["accuracy"] for score in scores] == [1, 0, 1, 0, 0]
        assert (manager.timeouts, manager.crashes) == (1, 1)
        assert [score["overall"] for score in _score(manager, "good", "bad")] == [1, 0]
        assert (manager.timeouts, manager.crashes) == (1, 1)


@pytest.mark.slow
def test_a_response_does_not_gain_by_hanging(tmp_path: Path) -> None:
    with RewardManager(_file(tmp_path, HOSTILE.format(kind="batch")), {"low": -1.0}, 1, 2.0) as manager:
        assert [score["overall"] for score in _score(manager, "good", "bad", "hang")] == [1, -1, -1]
        assert _score(manager, "hang") == [{"overall": 0.0, "accuracy": 0.0}]


@pytest.mark.parametrize("kind", ["batch", "sequential"])
@pytest.mark.parametrize(
    ("response", "message"),
    [
        ("raise", r"RuntimeError: a bug in the reward \(File .*reward.py"),
        ("nan", "overall: expected a finite number, got nan"),
        ("text", "overall: expected a number, got str 'high'"),
        ("number", "expected a dict .*, got float 1.0"),
        ("empty", r'expected a score with "overall", got the keys \[\'accuracy\'\]'),
    ],
)
def test_an_error_in_the_file_names_the_row(
    hostile: Callable[[str, str], RewardManager], kind: str, response: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        _score(hostile(kind, "many" if kind == "batch" else "one"), "good", response, "good")
    assert f"response (end of it): {response!r}" in str(error.value)
    assert "reward.py" in str(error.value)


@pytest.mark.parametrize(
    ("name", "response", "message"),
    [
        ("short", "good", "expected one score per row, got 0 for 1 row"),
        ("no_list", "good", "expected a list of dicts from a batch function, got dict"),
        ("many", "crowd", "too many rows for a batch of 3 rows, but not for any of them alone"),
    ],
)
def test_an_error_of_the_whole_batch(
    hostile: Callable[[str, str], RewardManager], name: str, response: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _score(hostile("batch", name), "good", response, "good")


def test_without_accuracy_overall_has_to_be_0_or_1(tmp_path: Path) -> None:
    code = "def main(rows): return [{'overall': float(row['response'])} for row in rows]"
    with RewardManager(_file(tmp_path, code), {}, 1, 5.0) as manager:
        assert _score(manager, "1", "0") == [{"overall": 1.0, "accuracy": 1.0}, {"overall": 0.0, "accuracy": 0.0}]
        with pytest.raises(UserError, match=r'no "accuracy".*\(0.9\).*Return "accuracy"'):
            _score(manager, "1", "0.9")


@pytest.mark.parametrize(
    ("reference", "kwargs", "message"),
    [
        ("missing.py:main", {}, "missing.py: no such file"),
        ("rewrad.py:main", {}, "rewrad.py: no such file; similar names in this folder: reward.py"),
        ("reward.py:on", {}, "reward.py: no function 'on'; it has one"),
        ("reward.py:zzzz", {}, "no function 'zzzz'; it has one, many, short, no_list"),
        ("reward.py:many", {"lwo": 1}, "unexpected keyword argument 'lwo'.*Its keyword arguments: low"),
        ("broken.py:main", {}, "broken.py: loading it failed with ModuleNotFoundError: .*nothing_of_the_kind"),
        ("syntax.py", {}, "syntax.py: loading it failed with SyntaxError"),
        ("kind.py", {}, "REWARD_TYPE: expected one of batch, sequential, got 'parallel'"),
        ("required.py", {}, "missing a required argument: 'max_response_length'"),
    ],
)
def test_files_and_arguments_are_checked_at_the_start(
    tmp_path: Path, reference: str, kwargs: dict[str, object], message: str
) -> None:
    _file(tmp_path, HOSTILE.format(kind="batch"))
    _file(tmp_path, "import nothing_of_the_kind", "broken.py")
    _file(tmp_path, "def main(:", "syntax.py")
    _file(tmp_path, "REWARD_TYPE = 'parallel'\ndef main(rows): return []", "kind.py")
    _file(tmp_path, "def main(rows, max_response_length): return []", "required.py")
    with pytest.raises(UserError, match=message):
        RewardManager(str(tmp_path / reference), kwargs)


def test_the_shipped_geometry_reward_works_in_the_manager() -> None:
    with RewardManager(f"{geometry.__file__}:compute_score", {"format_weight": 0.2}, 1, 5.0) as manager:
        scores = manager.score(
            ["3, 4.\nSo \\boxed{5}", "a\n\\boxed{1+x}", "a\n\\boxed{x(9^{9})!}", "b\n\\boxed{2+x}"],
            [5] * 4,
            ["5", "x+1", "x", "x+1"],
        )
        assert [score["accuracy"] for score in scores] == [1, 1, 0, 0]
        assert scores[0] == {"overall": 1.0, "accuracy": 1.0, "format": 1.0}
        assert scores[3]["overall"] == pytest.approx(0.2)
        assert manager.timeouts + manager.crashes == 0  # (9^9)! is never computed
        with pytest.raises(UserError, match="ground truth is empty"):
            manager.score(["\\boxed{5}"], [1], [""])


def test_lists_of_different_length_are_an_error() -> None:
    with RewardManager(f"{geometry.__file__}:compute_score") as manager, pytest.raises(ValueError):
        manager.score(["a"], [1, 2], ["5"])
