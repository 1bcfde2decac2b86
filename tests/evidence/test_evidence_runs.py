"""Equal settings give the same run, different settings give different runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from echorl_vl.errors import UserError
from echorl_vl.evidence.experiment import find_experiments
from echorl_vl.evidence.experiments import helps, step_choice, sweep
from echorl_vl.evidence.runs import START, Measurement, Training, checkpoint_steps, train, train_pair
from echorl_vl.evidence.setup import RESERVED
from echorl_vl.evidence.testing import accuracies, final_test


def trainings(name, of) -> set[str]:
    return {run.key for run in find_experiments([name])[name].runs(of) if isinstance(run, Training)}


def test_experiments_share_their_runs(setup):
    of = setup()
    pairs = {run.key for seed in of.seeds for run in train_pair(of, seed).values()}
    assert trainings("degeneration", of) == pairs
    for name in ("helps", "sweep", "step_choice"):
        assert pairs < trainings(name, of)
    for name in ("steps", "traces", "group_size"):
        assert trainings(name, of) < pairs


def test_seeds_lambdas_algorithms_and_selectors_give_different_runs(setup):
    of = setup()
    runs = [
        train(of, 1),
        train(of, 2),
        train(of, 1, 0.0),
        train(of, 1, 0.01),
        train(of, 1, algorithm="dapo"),
        train(of, 1, extra={"echo.select": "last"}),
        train(of, 1, extra={"echo.select": "last", "echo.clip_tokens": "as_max"}),
        train(of, 1, extra={"echo.min_step_tokens": "4"}),
        train(setup("worker.actor.optim.lr=1e-4"), 1),
    ]
    assert len({run.key for run in runs}) == len({run.name for run in runs}) == len(runs)


def test_equal_settings_in_another_form_give_the_same_run(setup):
    assert train(setup(), 1, 0.001).key == train(setup("echo.coef=1e-3"), 1).key
    assert train(setup(), 1).key == train(setup(config="configs/math_tiny.yaml", task=None), 1).key


def test_the_hash_of_a_measurement_covers_policy_and_options(setup):
    of = setup()
    run, other = train(of, 1), train(of, 2)
    runs = [
        final_test(of, 1, None),
        final_test(of, 2, None),
        final_test(of, 1, run),
        final_test(of, 1, other),
        final_test(setup(samples=3), 1, run),
        final_test(setup(problems=3), 1, run),
        final_test(setup(problems=None), 1, run),
        Measurement(of, accuracies, 1, run, 1, {"splits": dict(of.splits), "samples": 2}),
        final_test(setup("worker.rollout.temperature=0.6"), 1, None),
    ]
    assert len({run.key for run in runs}) == len(runs)
    assert final_test(of, 1, run).key == final_test(of, 1, train(of, 1)).key
    assert final_test(setup("worker.actor.optim.lr=1e-4"), 1, None).key == final_test(of, 1, None).key
    assert Measurement(of, accuracies, 1, run, START).key == Measurement(of, accuracies, 1).key


def test_the_variants_of_the_sweep_are_different_runs_and_share_the_pair(setup):
    of = setup()
    runs = sweep.variants(of, 1)
    assert len({run.key for run in runs.values()}) == len(runs) == 1 + 6 + 8
    assert runs["lambda 0.001"].key == train_pair(of, 1)["with"].key
    larger = sweep.variants(setup("echo.coef=0.02"), 1)
    assert larger["lambda 0.02"].key == train_pair(setup("echo.coef=0.02"), 1)["with"].key
    assert larger["lambda 0.01"].key == runs["lambda 0.01"].key
    assert larger["2 highest steps"].key != runs["2 highest steps"].key
    coefs = {name: run.setup.load(run.own).echo.coef for name, run in runs.items()}
    assert {coefs.pop(f"lambda {coef:g}") for coef in sweep.COEFS} == set(sweep.COEFS) and coefs.pop("without") == 0
    assert set(coefs.values()) == {0.01} and len(coefs) == 8
    lambdas = [name for name in larger if name.startswith("lambda ")]
    assert lambdas == sorted(lambdas, key=lambda name: float(name.split()[1]))
    assert {"lambda 0.02", "lambda 0.2"} < {*lambdas}


def test_the_arms_of_step_choice_differ_only_in_the_selector(setup):
    runs = step_choice.arms(setup(), 1)
    paper, others = dict(runs["highest"].own), {name: dict(runs[name].own) for name in step_choice.OTHERS}
    assert {name: own.pop("echo.select") for name, own in others.items()} == {name: name for name in others}
    first = others["random"]
    assert all(own == first for own in others.values()) and first["echo.clip_tokens"] == "as_max"
    differing = {key for key in paper.keys() | first.keys() if paper.get(key) != first.get(key)}
    checkpoints_and_logging = {"trainer.save_freq", "trainer.save_limit", "echo.log_grad_share"}
    assert differing == checkpoints_and_logging | {"echo.clip_tokens"}


@pytest.mark.parametrize(("steps", "stages"), [(150, [50, 100, 150]), (120, [40, 80, 120]), (2, [1, 2]), (1, [1])])
def test_the_last_stage_is_the_last_step(steps, stages):
    assert checkpoint_steps(steps, "stages") == stages


def test_the_keys_of_the_algorithms(setup):
    of = setup("trainer.max_steps=10")
    assert train(of, 1, algorithm="uft").own["data.demonstration_key"] == "solution"
    assert train(of, 1, algorithm="dapo").own["algorithm.keep_all_success_groups"] == "true"
    assert "algorithm.keep_all_success_groups" not in train(of, 1, 0.0, "dapo").own


def test_the_sampling_arm_differs_from_dapo_with_echorl_only_in_lambda(setup):
    runs = helps.arms(setup(), 1, "dapo")
    without, with_term = runs[helps.SAMPLING], runs["with"]
    assert {key for key in with_term.own if without.own[key] != with_term.own[key]} == {"echo.coef"}
    assert without.own.keys() == with_term.own.keys() and without.keep == with_term.keep
    assert helps.arms(setup(), 1, "luffy").keys() == {"without", "with"}


def test_all_keys_set_by_runs_are_reserved(setup):
    """Except for lambda and the column of demonstrations, which are taken from the user's configuration."""
    of = setup()
    runs = [run for name in helps.ALGORITHMS for run in helps.arms(of, 1, name).values()]
    assert {key for run in runs for key in run.own} - {"echo.coef", "data.demonstration_key"} <= {*RESERVED}


@pytest.mark.parametrize("key", RESERVED)
def test_reserved_keys_are_refused(setup, key):
    with pytest.raises(UserError, match=f"{key} is set by the experiments"):
        setup(f"{key}=1")


def test_an_unusable_configuration_is_an_error(setup, tmp_path):
    with pytest.raises(UserError, match=r"echo\.coef: expected the weight .*, got 0"):
        setup("echo.coef=0")
    with pytest.raises(UserError, match="expected key=value, got 'oops'"):
        setup("oops")
    with pytest.raises(UserError, match="expected name=problem set, got 'test'"):
        setup(splits=["test"])
    with pytest.raises(UserError, match=r"trainer\.max_steps: expected a number of steps, got nothing"):
        setup("trainer.max_steps=null")
    own, text = tmp_path / "own.yaml", Path("configs/math_tiny.yaml").read_text()
    text = text.replace("generated/arithmetic@validation", "''").replace("val_freq: 30", "val_freq: -1")
    own.write_text(text.replace("val_before_train: true", "val_before_train: false"))
    with pytest.raises(UserError, match=r"data\.val_files: expected a problem set, got nothing; give --test NAME=SET"):
        setup(config=str(own), task=None)


def test_a_task_needs_a_checkout(setup, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("echorl_vl.evidence.setup.REPOSITORY", tmp_path)
    with pytest.raises(UserError, match=r"configs/math_tiny\.yaml not found: run tasks in a checkout .* --config"):
        setup()


def test_a_users_configuration_is_tested_on_its_validation_problems(setup):
    of = setup(config="configs/math_tiny.yaml", task=None)
    assert (of.task, dict(of.splits)) == ("math_tiny", {"test": "generated/arithmetic@validation"})
    own = setup(config="configs/math_tiny.yaml", task=None, splits=["far=generated/arithmetic@ood_kinds"])
    assert dict(own.splits) == {"far": "generated/arithmetic@ood_kinds"}
    with pytest.raises(UserError, match=r"data\.demonstration_key: expected a column, got nothing"):
        own.demonstration_key  # noqa: B018
