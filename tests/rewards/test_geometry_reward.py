"""The shipped geometry reward: accuracy and format, and loading by path as EasyR1 does."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from echorl_vl.rewards import geometry

WORKED = "The sides are 3 and 4.\nSo the third is $\\boxed{5}$."


def _row(response: str, ground_truth: str = "5") -> dict[str, object]:
    return {"response": response, "response_length": 10, "ground_truth": ground_truth}


@pytest.mark.parametrize(
    ("response", "accuracy", "form"),
    [
        (WORKED, 1, 1),
        (WORKED.replace("5", "6"), 0, 1),
        ("\\boxed{5}", 1, 0),
        ("The sides are 3 and 4. So \\boxed{5}", 1, 0),
        (WORKED + "\nWait, that may be wrong.", 1, 0),
        ("I guess \\boxed{6}.\n" + WORKED, 1, 0),
        ("The sides are 3 and 4.\nThe third is 5.", 0, 0),
        ("The sides are 3 and 4.\nThe third is \\boxed{5", 0, 0),
        ("The sides are 3 and 4.\n\\[\n\\boxed{5}\n\\]\n", 1, 1),
        ("\n\n\\[\n\\boxed{5}\n\\]\n", 1, 0),
        ("", 0, 0),
    ],
)
def test_accuracy_and_format_are_scored_separately(response: str, accuracy: int, form: int) -> None:
    [score] = geometry.compute_score([_row(response)], format_weight=0.1)
    assert score == {"overall": pytest.approx(0.9 * accuracy + 0.1 * form), "accuracy": accuracy, "format": form}


@pytest.mark.parametrize(
    ("response", "form"),
    [
        ("<think>3, 4</think> So \\boxed{5}.", 1),
        ("<think>3, 4, maybe \\boxed{6}</think>\nSo \\boxed{5} cm", 1),
        ("<think></think> \\boxed{5}", 0),
        ("3, 4</think> \\boxed{5}", 0),
        ("<think>3, 4 \\boxed{5}", 0),
        ("<think>3, 4 \\boxed{5}</think>", 0),
        ("<think>a</think><think>b</think>\\boxed{5}", 0),
        ("<think>a</think>\\boxed{4}\\boxed{5}", 0),
        (WORKED, 0),
    ],
)
def test_the_think_format(response: str, form: int) -> None:
    assert geometry.compute_score([_row(response)], format="think")[0]["format"] == form


def test_invalid_arguments_are_errors() -> None:
    with pytest.raises(ValueError, match="format_weight: expected a number from 0 to 1, got 2"):
        geometry.compute_score([_row(WORKED)], format_weight=2)
    with pytest.raises(ValueError, match="format: expected one of boxed, think, got 'xml'"):
        geometry.compute_score([_row(WORKED)], format="xml")
    with pytest.raises(ValueError, match="ground truth is empty"):
        geometry.compute_score([_row(WORKED, "")])


def _load_as_easyr1_does(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("custom_reward_fn", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_reward_fn"] = module
    spec.loader.exec_module(module)
    return module


def test_no_response_hangs_the_file_when_easyr1_loads_it() -> None:
    module = _load_as_easyr1_does(Path(geometry.__file__))
    assert (module.REWARD_NAME, module.REWARD_TYPE) == ("geometry", "batch")
    rows = [
        _row(WORKED, "5"),
        _row("a\n\\boxed{1+x}", "x+1"),
        _row("a\n\\boxed{(9^{9})!}", "5"),
        _row("a\n\\boxed{9^{9^{9^9}}}", "5"),
        _row("a\n\\boxed{\\sum_{n=1}^{10^9} \\frac{1}{n^2+n!}}", "5"),
        _row("a\n\\boxed{2+x}", "x+1"),
        _row("\\boxed{" * 100_000, "5"),
        _row("\\boxed{" + "{" * 900 + "5" + "}" * 900 + "}", "x"),
    ]
    begin = time.perf_counter()
    scores = module.compute_score(rows, time_limit=2.0)
    assert time.perf_counter() - begin < 60
    assert [score["accuracy"] for score in scores] == [1, 1, 0, 0, 0, 0, 0, 0]
    for pool in module._pools.values():
        pool.close()


def test_quick_score_needs_no_worker() -> None:
    module = _load_as_easyr1_does(Path(geometry.__file__))
    rows = [_row(WORKED), _row("a\n\\boxed{5.2}", "3\\sqrt{3}"), _row("a\n\\boxed{x}")]
    assert module.compute_score(rows) == [module.quick_score(row) for row in rows]
    assert not module._pools
    assert module.quick_score(_row("a\n\\boxed{1+x}", "x+1")) is None
