"""Whole runs of verl on a CPU: through `python -m echorl_vl.train`, and through verl's own command line."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_runs import (
    LONGEST,
    check_a_reward_that_raises_ends_the_run,
    check_clips,
    check_files,
    check_killed_and_resumed,
    check_metrics,
    check_stop,
    check_validation,
    in_background,
)

from echorl_vl.core import METRIC_NAMES
from echorl_vl.engines.verl.dry_run import ENVIRONMENT, dry_run_settings

pytestmark = pytest.mark.slow

NOT_MEASURED = {"echo/grad_share"}  # refused, see docs/verl.md


@pytest.fixture(scope="module")
def one_worker(dry_run):
    return dry_run(
        "trainer.val_freq=1", "trainer.val_before_train=true", "trainer.save_freq=1", "data.val_batch_size=9"
    )


QUESTIONS = [f"What is {number} + {number}?" for number in range(24)]


def test_run_writes_the_files_of_the_local_engine(one_worker):
    check_files(one_worker, "data")
    assert "engine: verl (as configured)" in one_worker.output


def test_metrics_have_the_specified_names(one_worker):
    check_metrics(one_worker, set(METRIC_NAMES) - NOT_MEASURED)
    assert all(row["group/all_success"] > 0 for row in one_worker.training)


def test_validation_counts_every_problem(one_worker):
    check_validation(one_worker, QUESTIONS)


def test_rollout_files_hold_clips_that_are_prefixes_of_correct_answers(one_worker, text_problems):
    rows = check_clips(one_worker, {f"{text_problems}:{row}": text for row, text in enumerate(QUESTIONS)})
    assert [row["group"] for row in rows] == [group for group in range(4) for _ in range(4)]
    assert all(len(row["tokens"]) <= 24 for row in rows)
    for group in range(4):
        same = [row for row in rows if row["group"] == group]
        if len({row["reward_overall"] for row in same}) == 1:
            assert all(row["advantage"] == 0 for row in same)


def test_problem_sets_are_written_for_verl(one_worker):
    rows = pq.read_table(one_worker.folder / "data" / "train_files.parquet").to_pylist()
    assert len(rows) == 24
    assert rows[3]["prompt"] == [{"role": "user", "content": "What is 3 + 3?"}]
    assert rows[3]["reward_model"]["ground_truth"] == "6" and rows[3]["extra_info"]["index"] == 3


def test_killed_run_with_two_workers_resumes(dry_run):
    run = check_killed_and_resumed(dry_run)
    seen = {row["question"] for step in (1, 2, 3, 4) for row in run.rollouts(step)}
    assert len(seen) == 16  # the position in the data is resumed too


def test_stopped_run_saves_and_says_how_to_resume(dry_run):
    check_stop(dry_run)


KINDS = {
    "resample": ["algorithm.dynamic_sampling=resample"],
    "echo": ["algorithm.dynamic_sampling=echo"],
    "kept": ["algorithm.keep_all_success_groups=true", "echo.coef=0"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_dynamic_sampling_drops_groups_or_keeps_them_for_the_echo_term(dry_run, kind):
    run = dry_run("algorithm.online_filtering=true", "algorithm.filter_key=accuracy", *KINDS[kind])
    assert run.status == 0, run.output[-3000:]
    for step, row in enumerate(run.training, 1):
        assert row["group/all_fail"] == 0
        rows = run.rollouts(step)
        solved = {row["group"] for row in rows} - {row["group"] for row in rows if not row["verified"]}
        assert len({row["group"] for row in rows}) == 4 and len(solved) == round(row["group/all_success"] * 4)
        if kind == "resample":
            assert not solved
        if kind != "kept":
            assert solved <= {row["group"] for row in rows if row["is_clip_source"]}
        assert all(row["advantage"] == 0 for row in rows if row["group"] in solved)
    if kind != "resample":
        assert sum(row["group/all_success"] for row in run.training) > 0


@pytest.mark.parametrize(
    "more",
    [
        ["algorithm.disable_kl=false", "algorithm.use_kl_loss=true", "algorithm.kl_penalty=low_var_kl"],
        ["algorithm.disable_kl=false", "echo.normalize_by=clips", "echo.select=topk", "echo.k=2"],
        ["algorithm.norm_adv_by_std_in_grpo=false", "worker.actor.entropy_coef=0.001", "worker.actor.loss_avg_mode=seq",
         "worker.actor.padding_free=false", "worker.actor.dynamic_batching=false"],
    ],
    ids=["kl-loss", "kl-reward-topk-clips", "dr-grpo-entropy-padded"],
)  # fmt: skip
def test_other_features_of_verl_work(dry_run, more):
    run = dry_run(*more, "trainer.max_steps=1")
    assert run.status == 0, run.output[-3000:]
    assert run.training[0]["echo/loss"] > 0 and run.training[0]["actor/grad_norm"] > 0


def test_base_algorithm_has_no_echo_term(dry_run):
    run = dry_run("echo.coef=0", "trainer.max_steps=1")
    assert run.status == 0, run.output[-3000:]
    assert run.training[0]["echo/coef"] == 0 and "echo/loss" not in run.training[0]
    assert run.training[0]["group/all_success"] > 0 and not any(row["is_clip_source"] for row in run.rollouts(1))


def test_reward_function_that_raises_ends_the_run(dry_run, tmp_path):
    check_a_reward_that_raises_ends_the_run(dry_run, tmp_path / "raises.py")


def plugin(*overrides: str, problems: Path, model: Path, reward: Path, log: Path):
    """verl's own command line with the plug-in."""
    settings = {
        "trainer.v1.trainer_mode": "echo_sync",
        "+echo.coef": 0.001,
        "+echo.include_truncated": True,
        "+echo.splitter": "window",
        "+echo.splitter_kwargs": "{size: 4}",
        "data.train_files": problems,
        "data.val_files": problems,
        "data.train_batch_size": 4,
        "data.max_prompt_length": 160,
        "data.max_response_length": 24,
        "data.dataloader_num_workers": 0,
        "algorithm.adv_estimator": "grpo",
        "actor_rollout_ref.actor.strategy": "fsdp2",
        "actor_rollout_ref.actor.ppo_mini_batch_size": 2,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 4,
        "actor_rollout_ref.actor.fsdp_config.use_torch_compile": False,
        "+actor_rollout_ref.actor.fsdp_config.mixed_precision": "{param_dtype: fp32}",
        "actor_rollout_ref.model.path": model,
        "+actor_rollout_ref.model.override_config": "{attn_implementation: sdpa}",
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
        "actor_rollout_ref.rollout.n": 4,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 8,
        "reward.num_workers": 1,
        "reward.custom_reward_function.path": reward,
        "trainer.device": "cpu",
        "trainer.n_gpus_per_node": 1,
        "trainer.total_training_steps": 1,
        "trainer.val_before_train": False,
        "trainer.logger": "[console]",
        "+ray_kwargs.ray_init.num_gpus": 1,
        "+ray_kwargs.ray_init.address": "local",
        "+ray_kwargs.ray_init.include_dashboard": False,
        "ray_kwargs.ray_init.num_cpus": 16,
        "hydra.run.dir": log.parent / "hydra",
        **dry_run_settings(),
    }
    given = [*(f"{key}={value}" for key, value in settings.items()), *overrides]
    environment = ENVIRONMENT | {"VERL_USE_EXTERNAL_MODULES": "echorl_vl.engines.verl"}
    status = in_background(["-m", "verl.trainer.main_ppo", *given], log, **environment).wait(timeout=LONGEST)
    return status, log.read_text(errors="replace")


VERL_REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    correct = float(len(solution_str) % 5 != 0)
    return {"score": correct, "acc": correct}
"""


@pytest.fixture
def verl_reward(tmp_path) -> Path:
    path = tmp_path / "verl_reward.py"
    path.write_text(VERL_REWARD)
    return path


def test_verl_s_command_line_with_the_plug_in(one_worker, text_model, verl_reward, tmp_path):
    problems = one_worker.folder / "data" / "train_files.parquet"
    status, output = plugin(problems=problems, model=text_model, reward=verl_reward, log=tmp_path / "plugin.log")
    assert status == 0, output[-3000:]
    (line,) = [line for line in output.splitlines() if "step:1 - " in line]
    found = dict(part.split(":", 1) for part in line.split("step:1 - ", 1)[1].split(" - "))
    assert float(found["echo/loss"]) > 0 and float(found["echo/clips"]) > 0 and float(found["echo/coef"]) == 0.001
    assert set(METRIC_NAMES) - NOT_MEASURED <= set(found)


def test_plug_in_refuses_a_run_without_entropies(one_worker, text_model, verl_reward, tmp_path):
    status, output = plugin(
        "algorithm.rollout_correction.bypass_mode=true",
        problems=one_worker.folder / "data" / "train_files.parquet",
        model=text_model,
        reward=verl_reward,
        log=tmp_path / "plugin.log",
    )
    assert status != 0
    assert "bypass_mode = true: skips the pass that gives the entropies; expected false" in output
