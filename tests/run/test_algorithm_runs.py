"""Short runs of every base algorithm, with and without EchoRL, on images and text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echorl_vl.algorithms import ALGORITHMS

DEMONSTRATIONS = "data.demonstration_key=solution"
CHANGES = {
    "relift": ["algorithm.options.buffer=1"],
    "uft": ["algorithm.options.hint_share=1.0"],
    "dapo": ["trainer.max_try_make_batch=-1"],
}

SCRIPTED = """
REWARD_TYPE = "batch"
CALLS = 0

def compute_score(reward_inputs):
    # In turn: all correct, all incorrect, mixed.
    scores = []
    for row, _ in enumerate(reward_inputs):
        group, place = divmod(row, 4)
        correct = float((group % 3 == 0) or (group % 3 == 2 and place < 2))
        scores.append({"overall": correct, "accuracy": correct})
    return scores
"""


TASKS = pytest.mark.parametrize("task", [pytest.param("images", marks=pytest.mark.slow), "text"])


@TASKS
@pytest.mark.parametrize("coef", [pytest.param(0.001, id="echo"), pytest.param(0, id="base", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["grpo", "dapo", "luffy", "uft"])
def test_the_algorithms_of_the_paper_train(run, name: str, coef: float, task: str) -> None:
    done = run(f"algorithm.name={name}", DEMONSTRATIONS, f"echo.coef={coef}", *CHANGES.get(name, []), task=task)
    assert done.status == 0, done.output
    assert len(done.metrics) == 2
    for row in done.metrics:
        assert ("echo/loss" in row) == (coef > 0)
        assert ("expert/prob" in row) == ("expert/accuracy" in row) == (name == "luffy")
        assert ("sampling/rounds" in row) == (name == "dapo")
        assert ("hint/loss" in row) == ("hint/prompts" in row) == (name == "uft")
        if name == "luffy":
            assert row["expert/accuracy"] == 1.0
        if name == "uft":  # hint and response are graded together, so a long hint does not change the format
            assert row["reward/format"] > 0.5


@pytest.mark.slow
@TASKS
@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"grpo", "dapo", "luffy", "uft"}))
def test_the_other_algorithms_train(run, tmp_path, name: str, task: str) -> None:
    changes = ["trainer.max_steps=3", *CHANGES.get(name, [])]
    if name == "relift":  # its SFT steps need groups that all fail
        changes.append(scripted_reward(tmp_path))
    done = run(f"algorithm.name={name}", DEMONSTRATIONS, *changes, task=task)
    assert done.status == 0, done.output
    assert len(done.metrics) == 3
    if name in ("sft", "relift"):
        assert any(row.get("sft/loss", 0) > 0 for row in done.metrics)
    if name == "sft":
        assert all("reward/accuracy" not in row for row in done.metrics)


def scripted_reward(folder: Path) -> str:
    (folder / "scripted.py").write_text(SCRIPTED)
    return f"worker.reward.reward_function={folder / 'scripted.py'}:compute_score"


def counted(run, tmp_path: Path, sampling: str, *more: str) -> list[dict]:
    done = run(
        "algorithm.name=dapo",
        f"algorithm.{sampling}",
        scripted_reward(tmp_path),
        "trainer.max_try_make_batch=-1",
        "data.rollout_batch_size=6",
        "worker.actor.global_batch_size=6",
        "echo.include_truncated=true",
        "algorithm.options.overlong_factor=0",
        *more,
        folder=tmp_path / sampling,
    )
    assert done.status == 0, done.output
    return done.metrics


@pytest.mark.slow
def test_echo_sampling_needs_fewer_rounds_and_clips_come_from_all_success_groups(run, tmp_path) -> None:
    """Two of six groups in a round are mixed, two all correct, two all incorrect: six take three rounds, or two."""
    resample, echo = (counted(run, tmp_path, f"dynamic_sampling={sampling}") for sampling in ("resample", "echo"))
    assert [row["sampling/rounds"] for row in resample] == [3.0, 3.0]
    assert [row["sampling/rounds"] for row in echo] == [2.0, 2.0]
    assert [row["group/all_success"] for row in resample] == [0.0, 0.0]
    assert [row["group/all_success"] for row in echo] == [0.5, 0.5]
    assert all(row["echo/clips"] == 6 for row in echo + resample)
    assert all(row["reward/accuracy"] == 0.5 for row in echo + resample)  # over all sampled groups
    assert all(row["group/degenerate"] == row["group/all_success"] for row in echo)


@pytest.mark.slow
@pytest.mark.parametrize("off", ["echo.start_step=10", "echo.coef=0"])
def test_echo_sampling_without_an_echo_term_is_resampling(run, tmp_path, off: str) -> None:
    """Otherwise groups that all succeed would fill the batch without a gradient."""
    assert [row["sampling/rounds"] for row in counted(run, tmp_path, "dynamic_sampling=echo", off)] == [3.0, 3.0]


@pytest.mark.slow
def test_groups_that_all_succeed_are_kept_with_or_without_an_echo_term(run, tmp_path) -> None:
    """Runs with and without the term can then be compared: their first step has the same groups."""
    key = "keep_all_success_groups=true"
    folders = [tmp_path / coef for coef in ("0.001", "0")]
    for folder in folders:
        folder.mkdir()
    with_term, without = (counted(run, folder, key, f"echo.coef={folder.name}") for folder in folders)
    for rows in (with_term, without):
        assert [row["sampling/rounds"] for row in rows] == [2.0, 2.0]
        assert [row["group/all_success"] for row in rows] == [0.5, 0.5]
    assert "echo/clips" not in without[0] and with_term[0]["echo/clips"] == 6
    for name in ("adv/zero_share", "actor/pg_loss", "response_length/mean", "reward/accuracy"):
        assert with_term[0][name] == without[0][name], name


@pytest.mark.slow
def test_reinforce_ada_reports_the_rewards_of_the_first_round(run, tmp_path) -> None:
    """The prompts of later rounds are selected by their rewards."""
    sizes = ("data.rollout_batch_size=6", "worker.actor.global_batch_size=6", "algorithm.options={keep: 4}")
    done = run("algorithm.name=reinforce_ada", scripted_reward(tmp_path), *sizes)
    assert done.status == 0, done.output
    assert all(row["sampling/rounds"] > 1 and row["sampling/rollouts_per_prompt"] > 4 for row in done.metrics)
    assert [row["reward/accuracy"] for row in done.metrics] == [0.5, 0.5]
    # Over all rounds, some of these groups have become mixed.
    assert all(row["group/all_success"] < 2 / 6 for row in done.metrics)


def test_too_few_groups_are_an_error_that_says_what_helps(run, tmp_path) -> None:
    (tmp_path / "always.py").write_text(SCRIPTED.replace("(group % 3 == 0) or", "True or"))
    reward = f"worker.reward.reward_function={tmp_path / 'always.py'}:compute_score"
    done = run("algorithm.name=dapo", reward, "trainer.max_try_make_batch=2")
    assert done.status == 2
    assert "2 rounds of sampling left 0 of 4 groups" in done.output and "dynamic_sampling=echo" in done.output
    assert "filter_high = 0.99; the means ranged from 1 to 1" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dapo", "relift", "uft"])
def test_a_resumed_run_equals_one_without_a_stop(run, tmp_path, name: str) -> None:
    """The position in the data and the buffer of a strategy are saved."""
    patient = "worker.reward.time_limit=60"  # a timeout on a busy machine would make the runs differ
    settings = [f"algorithm.name={name}", DEMONSTRATIONS, patient, "trainer.save_freq=2", *CHANGES.get(name, [])]
    whole = run(*settings, "trainer.max_steps=4", folder=tmp_path / "whole")
    run(*settings, "trainer.max_steps=4", folder=tmp_path / "parts")
    for path in (tmp_path / "parts").glob("global_step_4"):
        for file in sorted(path.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        path.rmdir()
    (tmp_path / "parts/summary.json").unlink()
    again = run(*settings, "trainer.max_steps=4", folder=tmp_path / "parts")
    assert whole.status == again.status == 0, again.output
    assert "step 2" in again.output or len(again.metrics) == 4
    strip = [json.dumps(row) for row in whole.repeatable()], [json.dumps(row) for row in again.repeatable()]
    assert strip[0] == strip[1]


@pytest.mark.slow
def test_a_key_that_overrides_the_preset_of_its_algorithm_is_reported(run) -> None:
    done = run("algorithm.name=reinforce_rej", "algorithm.adv_estimator=grpo", "trainer.max_steps=1")
    assert "algorithm.name = reinforce_rej has algorithm.adv_estimator = " in done.output


def test_a_buffer_that_could_never_be_full_is_refused(run) -> None:
    done = run("algorithm.name=relift", DEMONSTRATIONS, "algorithm.options.buffer=25")
    assert done.status == 2 and "would never be full; expected at most 11" in done.output


def test_a_set_without_usable_demonstrations_stops_the_run(run) -> None:
    done = run("algorithm.name=luffy", "data.demonstration_key=kind")
    assert done.status == 2 and "without a boxed answer" in done.output
