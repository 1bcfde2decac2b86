"""What the EasyR1 engine refuses, the sums of its ranks, and the recipes in configs/."""

from __future__ import annotations

from pathlib import Path

import pytest

from echorl_vl.config import ENGINES, load_config
from echorl_vl.engines.ray.adjusted import capped
from echorl_vl.errors import UserError

RECIPES = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))
FITTING = (
    "engine=easyr1",
    "data.val_files=owner/problems@test",
    "trainer.n_gpus_per_node=2",
    "worker.actor.micro_batch_size_per_device_for_update=4",
    "worker.actor.micro_batch_size_per_device_for_experience=8",
)


def error_of(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path, [*FITTING, *overrides])
    return str(caught.value)


def test_what_fits_passes(minimal: Path) -> None:
    assert ENGINES["easyr1"].issues(load_config(minimal, FITTING)) == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.val_files=''", "always validates after the last step"),
        ("worker.hybrid_engine=false", "supports true"),
        ("algorithm.adv_estimator=remax", "multiplies (B,) with (B, T) and fails"),
        ("data.train_files=''", "needs a training set for trainer.val_only too"),
        ("worker.rollout.name=sglang", "samples with vllm"),
        ("worker.actor.strategy=fsdp2", "supports fsdp"),
        ("worker.actor.optim.lr_scheduler_type=linear", "supports constant, cosine"),
        ("trainer.n_gpus_per_node=3", "expected a multiple of 3 GPUs"),
        ("worker.rollout.tensor_parallel_size=3", "expected a divisor of 2 GPUs"),
        ("worker.actor.ulysses_size=3", "expected a divisor of 2 GPUs"),
        ("worker.rollout.n=3", "expected a divisor of 12, the rollouts of one rank in an optimizer step"),
        ("worker.actor.micro_batch_size_per_device_for_experience=7", "expected a divisor of 32"),
        ("worker.actor.fsdp.enable_cpu_offload=true", "does not go with several micro-batches"),
        ("data.max_response_length=9000", "expected at least 9512"),
        ("data.mini_rollout_batch_size=3", "expected a multiple of 2 GPUs"),
    ],
)
def test_refused_with_key_and_reason(minimal: Path, override: str, expected: str) -> None:
    if override == "worker.rollout.n=3":
        override_list = [override, "worker.actor.micro_batch_size_per_device_for_update=8"]
    else:
        override_list = [override]
    assert expected in error_of(minimal, *override_list)


@pytest.mark.parametrize("name", ["uft", "relift", "reinforce_ada", "sft"])
def test_an_algorithm_that_needs_what_the_engine_has_not_is_refused(minimal: Path, name: str) -> None:
    message = error_of(minimal, f"algorithm.name={name}", "data.demonstration_key=solution")
    assert f'algorithm.name = "{name}"' in message and "which engine easyr1 does not support" in message


@pytest.mark.parametrize("name", ["grpo", "dapo", "dr_grpo", "reinforce_rej", "luffy", "srft"])
def test_an_algorithm_that_the_engine_has_fits(minimal: Path, name: str) -> None:
    overrides = [f"algorithm.name={name}", "data.demonstration_key=solution"]
    assert ENGINES["easyr1"].issues(load_config(minimal, [*FITTING, *overrides])) == []


def test_a_remainder_over_the_ranks_is_found_which_easyr1_rounds_off(minimal: Path) -> None:
    batches = ("worker.actor.global_batch_size=4", "worker.actor.micro_batch_size_per_device_for_update=1")
    message = error_of(minimal, "trainer.n_gpus_per_node=8", "worker.rollout.n=3", *batches)
    assert "times worker.rollout.n = 3 makes 12 rollouts; expected a multiple of the 8 data ranks" in message


def test_without_dynamic_batching_each_rank_splits_its_own_rollouts(minimal: Path) -> None:
    whole = "worker.actor.micro_batch_size_per_device_for_experience=32"
    load_config(minimal, [*FITTING, whole])
    load_config(minimal, [*FITTING, whole, "worker.actor.dynamic_batching=false"])  # capped at the rank's 16
    message = error_of(minimal, whole.replace("32", "12"), "worker.actor.dynamic_batching=false")
    assert "expected a divisor of 16, the rollouts of one rank" in message


def test_val_only_needs_the_validation_that_easyr1_looks_for(minimal: Path) -> None:
    only = "trainer.val_only=true"
    assert "expected true with trainer.val_only" in error_of(minimal, only, "trainer.val_before_train=false")
    load_config(minimal, [*FITTING, only])


def test_dynamic_sampling_needs_filtering_by_accuracy(minimal: Path) -> None:
    echo = "algorithm.dynamic_sampling=echo"
    assert "goes with online_filtering = true" in error_of(minimal, echo)
    for key in (echo, "algorithm.keep_all_success_groups=true"):
        name, value = key.split("=")
        error = error_of(minimal, key, "algorithm.online_filtering=true").replace('"', "")
        assert "expected accuracy" in error and f"{name} = {value} (command line), which keeps the groups" in error
    filtering = ("algorithm.online_filtering=true", "algorithm.filter_key=accuracy")
    for coef in (0.001, 0):  # without an echo term it is resampling: one key turns EchoRL off
        load_config(minimal, [*FITTING, echo, *filtering, f"echo.coef={coef}"])


def test_a_cpu_dry_run_is_judged_by_what_it_runs(minimal: Path) -> None:
    needs_cuda = ("worker.rollout.tensor_parallel_size=2", "trainer.n_gpus_per_node=1")
    assert "expected a divisor of 1 GPUs" in error_of(minimal, *needs_cuda)
    load_config(minimal, [*FITTING, *needs_cuda, "trainer.device=cpu"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_fits_its_engine(path: Path) -> None:
    config = load_config(path)
    if config.engine == "verl":
        assert ENGINES["verl"].issues(config) == []
    elif config.engine != "local":
        assert ENGINES["easyr1"].issues(config) == []
    assert config.echo.coef == 0.001


def test_a_micro_batch_larger_than_a_rank_s_rows_is_capped_and_said(minimal: Path) -> None:
    """Two GPUs share 8 prompts times 4 rollouts: 16 rows each."""
    update, experience = (f"worker.actor.micro_batch_size_per_device_for_{kind}" for kind in ("update", "experience"))
    for engine, gpus, rows in (("easyr1", 2, 16), ("verl", 4, 8)):
        overrides = [f"engine={engine}", f"trainer.n_gpus_per_node={gpus}", f"{update}=128", f"{experience}=24"]
        config = load_config(minimal, [*FITTING, "worker.rollout.limit_images=0", *overrides])
        changed, lines = capped(config)
        actor = changed.worker.actor
        assert actor.micro_batch_size_per_device_for_update == rows
        assert actor.micro_batch_size_per_device_for_experience == rows
        assert lines[0] == f"{update} = {rows} in place of 128: one rank has no more rollouts in a batch"
        assert config.worker.actor.micro_batch_size_per_device_for_update == 128
    assert capped(load_config(minimal, FITTING))[1] == []
    assert "expected a divisor of 32" in error_of(minimal, f"{update}=12")


def test_critics_and_offloading_are_capped_too(minimal: Path) -> None:
    critic = "worker.critic.micro_batch_size_per_device_for_update"
    gae = ("algorithm.adv_estimator=gae", "worker.critic.global_batch_size=4", f"{critic}=64")
    offload = ("worker.actor.fsdp.enable_cpu_offload=true", "worker.actor.micro_batch_size_per_device_for_update=128")
    changed, lines = capped(load_config(minimal, [*FITTING, *gae, *offload]))
    assert changed.worker.critic.micro_batch_size_per_device_for_update == 8
    assert changed.worker.actor.micro_batch_size_per_device_for_update == 16
    assert len(lines) == 2
