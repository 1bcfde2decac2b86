"""The reward functions that verify completions, and the warning if they never verify any."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="TRL is not installed here: make test-trl makes an environment that has it")

from datasets import Dataset
from trl_runs import GROUP, PROMPTS, arguments, logged, scripted, text_model, text_problems, train, train_scripted

from echorl_vl.core import EchoConfig
from echorl_vl.errors import UserError
from echorl_vl.trl import EchoGRPOTrainer
from echorl_vl.trl.accuracy import UNVERIFIED_STEPS, completion_accuracies, find_accuracy, reward_names


def answer_accuracy(completions, prompts, **kwargs) -> list[float | None]:
    """Verifies the first two prompts only; the others belong to another task."""
    return [1.0 if prompt in PROMPTS[:2] else None for prompt in prompts]


def count_accuracy(completions, prompts, **kwargs) -> list[float | None]:
    return [None if prompt in PROMPTS[:2] else 1.0 for prompt in prompts]


def format_accuracy(completions, **kwargs) -> list[float]:
    return [1.0] * len(completions)


def never(completions, **kwargs) -> list[float]:
    return [0.5] * len(completions)


class Judge:
    def __call__(self, completions, **kwargs) -> list[float]:
        return [1.0] * len(completions)

    def grade(self, completions, **kwargs) -> list[float]:
        return [1.0] * len(completions)


FUNCTIONS = [format_accuracy, answer_accuracy, never]


@pytest.mark.parametrize(
    ("names", "accuracy_reward", "expected"),
    [
        (["f"], None, [0]),
        (["format_reward", "Accuracy_reward", "length"], None, [1]),
        (["a", "b"], "b", [1]),
        (["accuracy", "b"], 1, [1]),
        (["a", "b", "c"], ["c", 0, "c"], [0, 2]),
        (["format_accuracy", "answer_accuracy"], ["answer_accuracy"], [1]),
    ],
)
def test_accuracy_functions_are_found_by_name_and_index(names, accuracy_reward, expected):
    assert find_accuracy(names, accuracy_reward) == expected


def test_accuracy_functions_are_found_by_object():
    judge, bound = Judge(), partial(never, limit=3)
    functions = [format_accuracy, judge, bound, "org/a-reward-model"]
    names = reward_names(functions)
    assert names == ["format_accuracy", "Judge", "never", "a-reward-model"]
    assert find_accuracy(names, judge, functions) == [1]
    assert find_accuracy(names, (bound, format_accuracy), functions) == [0, 2]
    with pytest.raises(UserError, match="the function answer_accuracy: expected one of reward_funcs"):
        find_accuracy(names, answer_accuracy, functions)
    assert find_accuracy(["a", "judge"], judge.grade, [never, judge.grade]) == [1]  # two objects of one bound method
    assert find_accuracy(["a", "b"], np.int64(1)) == [1]


@pytest.mark.parametrize(
    ("names", "accuracy_reward"),
    [
        (["a_reward", "b_reward"], None),
        (["a_reward", "accuracy", "format_accuracy"], None),  # a guess could mine incorrect answers
        (["a_reward"], "c"),
        (["a_reward", "b", "b"], "b"),
        (["a_reward"], 1),
        (["a_reward"], -1),
        (["a_reward"], True),
        (["a_reward"], 0.0),
        (["a_reward"], {"a_reward"}),
        (["a_reward"], []),
        (["a_reward"], [None]),
    ],
)
def test_an_invalid_or_ambiguous_accuracy_reward_is_an_error(names, accuracy_reward):
    with pytest.raises(UserError, match="a_reward"):
        find_accuracy(names, accuracy_reward)


@pytest.mark.parametrize(
    ("accuracy_reward", "message"),
    [
        (None, "2 of them have accuracy in the name"),
        (0.5, "accuracy_reward is 0.5: expected one of the reward functions, its name or its index"),
        ("anser_accuracy", "accuracy_reward is 'anser_accuracy'"),
        (lambda completions: None, "the function <lambda>"),
    ],
)
def test_accuracy_reward_is_checked_before_a_model_is_loaded(accuracy_reward, message, tmp_path):
    with pytest.raises(UserError, match=message):
        EchoGRPOTrainer("no/such-model", FUNCTIONS, arguments(tmp_path), accuracy_reward=accuracy_reward)


def test_the_accuracy_is_the_lowest_value_that_is_not_none():
    nan = torch.nan
    rewards = torch.tensor([[1.0, nan, 0.0], [nan, 0.5, 0.0], [1.0, 0.25, 0.0], [nan, nan, 0.0], [-1.0, nan, 0.0]])
    accuracies = completion_accuracies(rewards, [0, 1])
    assert torch.equal(accuracies.isnan(), torch.tensor([False, False, False, True, False]))
    assert accuracies.nan_to_num(9.0).tolist() == [1.0, 0.5, 0.25, 9.0, -1.0]
    assert torch.equal(completion_accuracies(rewards, [2]), rewards[:, 2])


@pytest.mark.parametrize("accuracy_reward", [["answer_accuracy", "count_accuracy"], [count_accuracy, 1]])
def test_tasks_with_different_accuracy_functions_all_have_clips(accuracy_reward, tmp_path, capsys):
    rewards = [never, answer_accuracy, count_accuracy]
    options = dict(rewards=rewards, per_device_train_batch_size=16)
    trainer = train_scripted(tmp_path, EchoConfig(), extra={"accuracy_reward": accuracy_reward}, **options)
    assert logged(trainer, "echo/clips") == [len(PROMPTS)]
    assert "a completion is verified if answer_accuracy, count_accuracy >= 1" in capsys.readouterr().out
    single = train_scripted(tmp_path, EchoConfig(), extra={"accuracy_reward": answer_accuracy}, **options)
    assert logged(single, "echo/clips") == [2]


@pytest.mark.parametrize(("rewards", "warned"), [(never, True), (format_accuracy, False)])
def test_many_steps_without_verified_completions_give_one_warning(rewards, warned, tmp_path):
    steps = UNVERIFIED_STEPS + 5
    data = Dataset.from_dict({"prompt": PROMPTS[:1] * steps})
    extra = {"rollout_func": scripted, "echo": EchoConfig()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(
            EchoGRPOTrainer, tmp_path, text_model(), data, rewards, extra, per_device_train_batch_size=GROUP,
            steps_per_generation=1,
        )  # fmt: skip
    messages = [str(warning.message) for warning in caught if "no completion was verified" in str(warning.message)]
    assert len(messages) == warned
    if warned:
        assert f"in {UNVERIFIED_STEPS} optimizer steps" in messages[0]
        assert "accuracy_reward is never, its highest value was 0.5, and echo.verify_threshold is 1" in messages[0]


def test_few_steps_without_verified_completions_give_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no completion was verified")
        extra = {"rollout_func": scripted, "echo": EchoConfig()}
        train(EchoGRPOTrainer, tmp_path, text_model(), text_problems(), never, extra, per_device_train_batch_size=GROUP)
