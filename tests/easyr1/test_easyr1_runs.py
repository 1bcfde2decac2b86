"""Whole runs of EasyR1 through `python -m echorl_vl.train`, on a CPU: Ray, FSDP over gloo, images, checkpoints."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import torch
from ray_runs import (
    check_clips,
    check_files,
    check_killed_and_resumed,
    check_metrics,
    check_stop,
    check_validation,
    error_of,
)

from echorl_vl.core import METRIC_NAMES

pytestmark = pytest.mark.slow

MEASURED_OTHERWISE = ("timing_s/", "timing_per_token_ms/", "perf/", "time")


@pytest.fixture(scope="module")
def one_worker(dry_run):
    """Two steps with validation before, between and after, and a checkpoint after each."""
    overrides = ["trainer.val_before_train=true", "trainer.val_freq=1", "trainer.save_freq=1", "data.val_batch_size=3"]
    return dry_run(*overrides, "echo.log_grad_share=true", "trainer.logger=[file, tensorboard]")


def questions(path) -> dict[str, str]:
    return {f"{path}:{row}": text for row, text in enumerate(pq.read_table(path)["problem"].to_pylist())}


def test_run_writes_the_files_of_the_local_engine(one_worker):
    check_files(one_worker, "tensorboard")
    assert "engine: easyr1 (as configured)" in one_worker.output


def test_metrics_have_the_specified_names(one_worker):
    check_metrics(one_worker, set(METRIC_NAMES))
    for row in one_worker.training:
        assert 0 < row["echo/grad_share"] < 1 and row["actor/policy_grad_norm"] > 0


def test_validation_counts_every_problem(one_worker, problems):
    check_validation(one_worker, list(questions(problems["validation"]).values()))


def test_rollout_files_hold_clips_that_are_prefixes_of_correct_answers(one_worker, problems):
    rows = check_clips(one_worker, questions(problems["train"]))
    for row in rows:
        if row["is_clip_source"]:
            assert row["response"].startswith(row["clip_text"].rstrip("\n")[:20])
    assert sum(row["picture"] is not None for row in rows) == 4


def test_without_coefficient_it_equals_plain_easyr1_bit_for_bit(dry_run, plain_easyr1):
    """The same metrics and weights as EasyR1's own command line without the adapter."""
    overrides = ["echo.coef=0", "trainer.save_freq=2", "worker.actor.global_batch_size=2", "trainer.save_limit=1"]
    overrides += ["algorithm.name=grpo", "data.demonstration_key=solution"]  # an unused column
    ours = dry_run(*overrides)
    assert ours.status == 0, ours.output[-3000:]
    plain = plain_easyr1(*overrides)
    log = (plain / "experiment_log.jsonl").read_text()
    theirs: dict[int, dict] = {}
    for line in log.splitlines():  # the last step has a second line for its validation
        row = flattened(json.loads(line))
        theirs.setdefault(row["step"], {}).update(row)
    for row in ours.training:
        expected = {key: value for key, value in theirs[row["step"]].items() if not key.startswith(MEASURED_OTHERWISE)}
        assert len(expected) > 30
        assert {key: row[key] for key in expected} == expected
    name = "global_step_2/actor/model_world_size_1_rank_0.pt"
    one, other = (torch.load(folder / name, weights_only=False) for folder in (ours.folder, plain))
    assert one.keys() == other.keys()
    assert all(torch.equal(full(one[key]), full(other[key])) for key in one)


def flattened(tree: dict, prefix: str = "") -> dict:
    """EasyR1's nested log row as {"actor/pg_loss": value}."""
    flat = {}
    for name, value in tree.items():
        flat |= flattened(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def test_killed_run_with_two_workers_resumes(dry_run):
    check_killed_and_resumed(dry_run)


def test_stopped_run_saves_and_says_how_to_resume(dry_run):
    check_stop(dry_run)


EASY = """
from zlib import crc32

from echorl_vl.rewards.geometry import compute_score as strict

def compute_score(rows):
    scores = strict(rows)
    for row, score in zip(rows, scores):
        if crc32(row["ground_truth"].encode()) % 2 == 0:  # half of the problems are solved by any answer
            score |= {"overall": 0.9 + 0.1 * score["format"], "accuracy": 1.0}
    return scores
"""


def test_dynamic_sampling_keeps_all_success_groups_for_the_echo_term(dry_run, tmp_path):
    """With `echo`, sampling takes fewer rounds than with `resample`, and clips come from all-success groups."""
    reward = tmp_path / "easy.py"
    reward.write_text(EASY)
    dapo = [
        "algorithm.online_filtering=true",
        "algorithm.filter_key=accuracy",
        "data.rollout_batch_size=8",
        "worker.actor.clip_ratio_high=0.28",
        f"worker.reward.reward_function={reward}:compute_score",
    ]
    runs = {kind: dry_run(*dapo, f"algorithm.dynamic_sampling={kind}") for kind in ("resample", "echo")}
    runs["kept"] = dry_run(*dapo, "algorithm.keep_all_success_groups=true", "echo.coef=0")
    for run in runs.values():
        assert run.status == 0, run.output[-3000:]
    rounds = {kind: sum(row["sampling/rounds"] for row in run.training) for kind, run in runs.items()}
    assert rounds["echo"] < rounds["resample"]
    assert all(row["group/all_success"] == 0 and row["group/all_fail"] == 0 for row in runs["resample"].training)
    kept, echo = runs["kept"].training[0], runs["echo"].training[0]
    assert (
        kept["group/all_success"] == echo["group/all_success"] > 0 and kept["adv/zero_share"] == echo["adv/zero_share"]
    )
    assert kept["actor/pg_loss"] == pytest.approx(echo["actor/pg_loss"], rel=1e-3) and "echo/clips" not in kept
    for step, row in enumerate(runs["echo"].training, 1):
        assert row["group/all_fail"] == 0 and row["group/all_success"] > 0
        rows = runs["echo"].rollouts(step)
        solved = {row["group"] for row in rows} - {row["group"] for row in rows if not row["verified"]}
        assert len(solved) == round(row["group/all_success"] * 8)
        assert solved <= {row["group"] for row in rows if row["is_clip_source"]}
        assert all(row["advantage"] == 0 for row in rows if row["group"] in solved)
        assert any(row["advantage"] != 0 for row in rows)
    assert "reward/aux_only_filter" not in runs["echo"].training[0]


@pytest.mark.parametrize(
    "overrides",
    [
        ["algorithm.disable_kl=false", "algorithm.use_kl_loss=true", "algorithm.kl_penalty=low_var_kl"],
        ["worker.actor.model.lora.rank=4", "worker.actor.model.lora.exclude_modules=.*visual.*"],
        ["worker.actor.loss_type=gspo", "worker.actor.entropy_coef=0.001", "algorithm.norm_adv_by_std_in_grpo=false",
         "worker.actor.padding_free=false", "worker.actor.loss_avg_mode=seq"],
    ],
    ids=["kl", "lora", "gspo-entropy-dr-grpo"],
)  # fmt: skip
def test_other_features_of_easyr1_work(dry_run, overrides):
    run = dry_run(*overrides, "trainer.max_steps=1")
    assert run.status == 0, run.output[-3000:]
    assert run.training[0]["echo/loss"] > 0 and run.training[0]["actor/grad_norm"] > 0


def test_base_algorithm_of_the_recipes_runs(dry_run):
    """Without echo term and std, with an entropy bonus."""
    run = dry_run(
        "echo.coef=0",
        "worker.actor.entropy_coef=0.001",
        "algorithm.norm_adv_by_std_in_grpo=false",
        "trainer.max_steps=1",
    )
    assert run.status == 0, run.output[-3000:]
    assert run.training[0]["echo/coef"] == 0 and "echo/loss" not in run.training[0]
    assert run.training[0]["actor/grad_norm"] > 0


def test_text_with_a_critic(dry_run, text_model, text_problems, tmp_path):
    """A text-only policy, GAE with a value model, and clips verified by the user's own reward."""
    reward = tmp_path / "correct.py"
    reward.write_text("def compute_score(rows):\n    return [{'overall': 1.0} for _ in rows]\n")
    run = dry_run(
        "algorithm.adv_estimator=gae",
        f"worker.actor.model.model_path={text_model}",
        f"worker.critic.model.model_path={text_model}",
        "worker.critic.model.override_config={num_labels: 1}",
        "worker.critic.global_batch_size=4",
        "worker.critic.micro_batch_size_per_device_for_experience=8",
        f"worker.reward.reward_function={reward}:compute_score",
        f"data.train_files={text_problems}",
        f"data.val_files={text_problems}",
        "data.max_response_length=16",
        "echo.include_truncated=true",
        "echo.splitter=window",
        "echo.splitter_kwargs={size: 4}",
        "trainer.max_steps=1",
    )
    assert run.status == 0, run.output[-3000:]
    (row,) = run.training
    assert row["echo/clips"] == 4 and row["echo/loss"] > 0 and row["group/all_success"] == 1
    assert "critic/vf_loss" in row


def test_user_error_of_a_worker_is_one_line_and_keeps_the_checkpoints(dry_run):
    run = dry_run(
        "worker.actor.optim.lr=1",
        "worker.actor.optim.weight_decay=1e6",  # multiplies the weights by a million in each step
        "trainer.max_bad_steps=1",
        "trainer.max_steps=9",
        "trainer.save_freq=1",
        "trainer.save_limit=-1",
    )
    assert run.status == 2
    assert "optimizer steps were not finite and were skipped" in error_of(run.output)
    assert (run.folder / "global_step_1" / "dataloader.pt").exists()
