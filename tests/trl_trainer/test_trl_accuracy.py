"""Which reward functions say "verified", what is said of them, and a warning where nothing ever is."""

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
from echorl_vl.trl.accuracy import SILENT_STEPS, accuracy_of_each, find_accuracy, names_of


def answer_accuracy(completions, prompts, **kwargs) -> list[float | None]:
    """Of the first two prompts only: it is another task that the others belong to."""
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
    ("names", "wanted", "found"),
    [
        (["f"], None, [0]),
        (["format_reward", "Accuracy_reward", "length"], None, [1]),
        (["a", "b"], "b", [1]),
        (["accuracy", "b"], 1, [1]),
        (["a", "b", "c"], ["c", 0, "c"], [0, 2]),
        (["format_accuracy", "answer_accuracy"], ["answer_accuracy"], [1]),
    ],
)
def test_the_accuracy_among_the_reward_functions(names, wanted, found):
    assert find_accuracy(names, wanted) == found


def test_the_function_itself():
    judge, bound = Judge(), partial(never, limit=3)
    functions = [format_accuracy, judge, bound, "org/a-reward-model"]
    names = names_of(functions)
    assert names == ["format_accuracy", "Judge", "never", "a-reward-model"]
    assert find_accuracy(names, judge, functions) == [1]
    assert find_accuracy(names, (bound, format_accuracy), functions) == [0, 2]
    with pytest.raises(UserError, match="the function answer_accuracy: expected one of reward_funcs"):
        find_accuracy(names, answer_accuracy, functions)
    assert find_accuracy(["a", "judge"], judge.grade, [never, judge.grade]) == [1]  # a new bound method each time
    assert find_accuracy(["a", "b"], np.int64(1)) == [1]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a_reward", "b_reward"], None),
        (["a_reward", "accuracy", "format_accuracy"], None),  # a guess may mine wrong answers
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
def test_no_accuracy_among_the_reward_functions(names, wanted):
    with pytest.raises(UserError, match="a_reward"):
        find_accuracy(names, wanted)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (None, "2 of them have accuracy in the name"),
        (0.5, "accuracy_reward is 0.5: expected the name, the index or the function itself"),
        ("anser_accuracy", "accuracy_reward is 'anser_accuracy'"),
        (lambda completions: None, "the function <lambda>"),
    ],
)
def test_it_is_asked_before_a_model_is_loaded(wanted, message, tmp_path):
    with pytest.raises(UserError, match=message):
        EchoGRPOTrainer("no/such-model", FUNCTIONS, arguments(tmp_path), accuracy_reward=wanted)


def test_the_value_that_is_not_none_counts_and_the_lowest_of_several():
    nan = torch.nan
    rewards = torch.tensor([[1.0, nan, 0.0], [nan, 0.5, 0.0], [1.0, 0.25, 0.0], [nan, nan, 0.0], [-1.0, nan, 0.0]])
    found = accuracy_of_each(rewards, [0, 1])
    assert torch.equal(found.isnan(), torch.tensor([False, False, False, True, False]))
    assert found.nan_to_num(9.0).tolist() == [1.0, 0.5, 0.25, 9.0, -1.0]
    assert torch.equal(accuracy_of_each(rewards, [2]), rewards[:, 2])


@pytest.mark.parametrize("wanted", [["answer_accuracy", "count_accuracy"], [count_accuracy, 1]])
def test_tasks_with_functions_of_their_own_all_have_clips(wanted, tmp_path, capsys):
    rewards = [never, answer_accuracy, count_accuracy]
    options = dict(rewards=rewards, per_device_train_batch_size=16)
    trainer = train_scripted(tmp_path, EchoConfig(), own={"accuracy_reward": wanted}, **options)
    assert logged(trainer, "echo/clips") == [len(PROMPTS)]
    assert "verified where answer_accuracy, count_accuracy gives 1 or more" in capsys.readouterr().out
    alone = train_scripted(tmp_path, EchoConfig(), own={"accuracy_reward": answer_accuracy}, **options)
    assert logged(alone, "echo/clips") == [2]


@pytest.mark.parametrize(("rewards", "warned"), [(never, True), (format_accuracy, False)])
def test_nothing_verified_for_many_steps_is_said_once(rewards, warned, tmp_path):
    steps = SILENT_STEPS + 5
    data = Dataset.from_dict({"prompt": PROMPTS[:1] * steps})
    own = {"rollout_func": scripted, "echo": EchoConfig()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(
            EchoGRPOTrainer, tmp_path, text_model(), data, rewards, own, per_device_train_batch_size=GROUP,
            steps_per_generation=1,
        )  # fmt: skip
    said = [str(warning.message) for warning in caught if "no completion was verified" in str(warning.message)]
    assert len(said) == warned
    if warned:
        assert f"in {SILENT_STEPS} optimizer steps" in said[0]
        assert "accuracy_reward is never, its highest value was 0.5, and echo.verify_threshold is 1" in said[0]


def test_few_steps_without_a_verified_completion_are_no_cause_for_alarm(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no completion was verified")
        own = {"rollout_func": scripted, "echo": EchoConfig()}
        train(EchoGRPOTrainer, tmp_path, text_model(), text_problems(), never, own, per_device_train_batch_size=GROUP)
