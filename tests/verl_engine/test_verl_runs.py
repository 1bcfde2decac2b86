"""Whole runs of verl on a CPU: through `python -m echorl_vl.train`, and through verl's own command line."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from finished_run import left_after
from verl_process import in_background

from echorl_vl.core import METRIC_NAMES
from echorl_vl.engines.verl.dry_run import ENVIRONMENT, dry_run_settings
from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files
from echorl_vl.outputs.tracker import read_metrics

pytestmark = pytest.mark.slow

NOT_MEASURED = {"echo/grad_share"}  # refused: see docs/verl.md


@pytest.fixture(scope="module")
def one_worker(dry_run):
    return dry_run(
        "trainer.val_freq=1", "trainer.val_before_train=true", "trainer.save_freq=1", "data.val_batch_size=9"
    )


def test_a_run_writes_the_embedded_engine_s_files(one_worker):
    assert one_worker.status == 0, one_worker.output[-3000:]
    assert "engine: verl (the configuration asks for it)" in one_worker.output
    assert one_worker.summary["finished"] is True
    names = {path.name for path in one_worker.folder.iterdir()}
    assert {"config.yaml", "environment.json", "metrics.jsonl", "rollouts", "validation", "plots", "data"} <= names
    assert {"global_step_1", "global_step_2"} <= names
    assert (one_worker.folder / "plots" / "summary.png").stat().st_size > 10_000


def test_metrics_have_the_names_of_the_specification(one_worker):
    assert [row["step"] for row in one_worker.training] == [1, 2]
    for row in one_worker.training:
        assert set(METRIC_NAMES) - NOT_MEASURED <= set(row)
        assert row["echo/clips"] > 0 and row["echo/loss"] > 0 and row["echo/coef"] == 0.001
        assert row["actor/skipped_steps"] == 0 and row["group/all_success"] > 0


def test_validation_counts_every_held_out_problem(one_worker):
    rows = [row for row in one_worker.metrics if "val/accuracy_reward" in row]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert list(rollout_files(one_worker.folder, "validation")) == [0, 1, 2]
    assert all(row["val/problems"] == 24 and 0 <= row["val/accuracy_se"] < 0.5 for row in rows)
    for step, path in rollout_files(one_worker.folder, "validation").items():
        answers = read_rollouts(path)
        accuracy = sum(answer["reward_accuracy"] for answer in answers) / len(answers)
        assert len(answers) == 24 and {answer["question"] for answer in answers} == {
            f"What is {number} + {number}?" for number in range(24)
        }
        assert accuracy == pytest.approx(rows[step]["val/accuracy_reward"])


def test_rollout_files_hold_clips_that_are_prefixes_of_right_answers(one_worker):
    rows = one_worker.rollouts(1)
    assert len(rows) == 16 and [row["group"] for row in rows] == [group for group in range(4) for _ in range(4)]
    sources = [row for row in rows if row["is_clip_source"]]
    assert len(sources) == one_worker.training[0]["echo/clips"]
    own_entropy = sum(row["clip_step_entropy"] for row in sources) / len(sources)
    assert one_worker.training[0]["echo/clip_step_entropy"] == pytest.approx(own_entropy)
    for row in sources:
        assert row["verified"] and row["reward_accuracy"] == 1.0
        same = [other for other in rows if other["group"] == row["group"] and other["verified"]]
        highest = max(value for other in same for value in other["step_entropies"])
        assert row["clip_step_entropy"] == pytest.approx(highest)
        assert row["question"].startswith("What is") and len(row["tokens"]) <= 24
    for group in range(4):
        same = [row for row in rows if row["group"] == group]
        if len({row["reward_overall"] for row in same}) == 1:
            assert all(row["advantage"] == 0 for row in same)


def test_problems_are_written_as_verl_reads_them(one_worker):
    rows = pq.read_table(one_worker.folder / "data" / "train_files.parquet").to_pylist()
    assert len(rows) == 24
    assert rows[3]["prompt"] == [{"role": "user", "content": "What is 3 + 3?"}]
    assert rows[3]["reward_model"]["ground_truth"] == "6" and rows[3]["extra_info"]["index"] == 3


def test_two_workers_are_killed_and_go_on(dry_run):
    overrides = ["trainer.n_gpus_per_node=2", "trainer.max_steps=4", "trainer.save_freq=1", "trainer.save_limit=2"]
    process, folder = dry_run(*overrides, wait=False)
    # verl saves before it logs: a kill between the two loses the step's row, though not its weights
    wait_for(lambda: any(row["step"] >= 2 for row in _metrics(folder)), process, folder)
    process.kill()  # alone: Ray has to end what it started
    process.wait()
    assert left_after(str(folder.with_suffix(".log")), seconds=15) == {}
    before = {row["step"]: row for row in read_metrics(folder)}
    run = dry_run(*overrides, folder=folder)
    assert run.status == 0, run.output[-3000:]
    assert "holds an unfinished run: going on from global_step_" in run.output
    assert [row["step"] for row in run.training] == [1, 2, 3, 4]
    assert {row["step"]: row for row in run.training}[1] == before[1]
    assert run.summary["finished"] is True
    ranks = {path.name for path in (folder / "global_step_4" / "actor").glob("model_*")}
    assert ranks == {"model_world_size_2_rank_0.pt", "model_world_size_2_rank_1.pt"}
    seen = {row["question"] for step in (1, 2, 3, 4) for row in run.rollouts(step)}
    assert len(seen) == 16  # the place in the data goes on as well


def test_a_stop_saves_and_says_how_to_go_on(dry_run):
    process, folder = dry_run("trainer.max_steps=500", wait=False)
    wait_for(lambda: (folder / "rollouts").exists(), process, folder)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=300) == 130
    output = folder.with_suffix(".log").read_text()
    assert "stopping after this step" in output
    assert "stopped; the same command goes on from global_step_" in output
    assert not (folder / "summary.json").exists() and not (folder / "stop").exists()


def _metrics(folder: Path) -> list[dict]:
    return read_metrics(folder) if (folder / "metrics.jsonl").is_file() else []


def wait_for(condition, process, folder: Path) -> None:
    deadline = time.time() + 300
    while time.time() < deadline and not condition():
        assert process.poll() is None, folder.with_suffix(".log").read_text()[-3000:]
        time.sleep(0.2)


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
def test_verl_s_features_go_on_working(dry_run, more):
    run = dry_run(*more, "trainer.max_steps=1")
    assert run.status == 0, run.output[-3000:]
    assert run.training[0]["echo/loss"] > 0 and run.training[0]["actor/grad_norm"] > 0


def test_the_base_algorithm_has_no_echo_term(dry_run):
    run = dry_run("echo.coef=0", "trainer.max_steps=1")
    assert run.status == 0, run.output[-3000:]
    assert run.training[0]["echo/coef"] == 0 and "echo/loss" not in run.training[0]
    assert run.training[0]["group/all_success"] > 0 and not any(row["is_clip_source"] for row in run.rollouts(1))


def test_what_is_wrong_with_a_reward_function_is_said_and_ends_the_run(dry_run, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("def compute_score(rows):\n    raise RuntimeError('no such thing as an answer')\n")
    run = dry_run(f"worker.reward.reward_function={broken}:compute_score")
    assert run.status == 2
    assert "no such thing as an answer" in run.output.rsplit("error:", 1)[1]
    assert "Traceback" not in run.output.rsplit("error:", 1)[1]


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
    process, log = in_background(["-m", "verl.trainer.main_ppo", *given], log, **environment)
    status = process.wait(timeout=420)
    return status, log.read_text(errors="replace")


VERL_REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    right = float(len(solution_str) % 5 != 0)
    return {"score": right, "acc": right}
"""


@pytest.fixture
def verl_reward(tmp_path) -> Path:
    path = tmp_path / "verl_reward.py"
    path.write_text(VERL_REWARD)
    return path


def test_verl_s_own_command_line_with_the_plug_in(one_worker, text_model, verl_reward, tmp_path):
    problems = one_worker.folder / "data" / "train_files.parquet"
    status, output = plugin(problems=problems, model=text_model, reward=verl_reward, log=tmp_path / "plugin.log")
    assert status == 0, output[-3000:]
    (line,) = [line for line in output.splitlines() if "step:1 - " in line]
    found = dict(part.split(":", 1) for part in line.split("step:1 - ", 1)[1].split(" - "))
    assert float(found["echo/loss"]) > 0 and float(found["echo/clips"]) > 0 and float(found["echo/coef"]) == 0.001
    assert set(METRIC_NAMES) - NOT_MEASURED <= set(found)


def test_the_plug_in_refuses_what_has_no_entropies(one_worker, text_model, verl_reward, tmp_path):
    status, output = plugin(
        "algorithm.rollout_correction.bypass_mode=true",
        problems=one_worker.folder / "data" / "train_files.parquet",
        model=text_model,
        reward=verl_reward,
        log=tmp_path / "plugin.log",
    )
    assert status != 0
    assert "bypass_mode = true: skips the pass that gives the entropies; wanted false" in output
