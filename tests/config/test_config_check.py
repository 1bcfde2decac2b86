"""Ranges, checks across fields, what the local engine refuses, and paths."""

from __future__ import annotations

from pathlib import Path

import pytest
from refused import error_of

from echorl_vl.config import ENGINES, load_config
from echorl_vl.config.schema import OPTIONS
from echorl_vl.core import KL_KINDS, LOSS_TYPES, SELECTORS
from echorl_vl.core.config import EchoConfig
from echorl_vl.errors import UserError
from echorl_vl.places import PACKAGE_HOME, find_path


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("worker.rollout.temperature=-1", "at least 0 and at most 100"),
        ("worker.rollout.top_p=0", "above 0 and at most 1"),
        ("worker.rollout.top_p=1.01", "above 0 and at most 1"),
        ("worker.rollout.n=0", "at least 1 and at most 10,000"),
        ("worker.actor.optim.lr=-1e-6", "at least 0 and at most 1"),
        ("worker.actor.optim.lr_warmup_ratio=1.5", "at least 0 and at most 1"),
        ("worker.actor.optim.lr_scheduler_type=step", "one of constant, linear, cosine"),
        ("worker.actor.optim.betas=[0.9, 1.0]", "at least 0 and below 1"),
        ("worker.actor.clip_ratio_low=1", "at least 0 and below 1"),
        ("worker.actor.loss_type=ppo", "one of default, gspo, gspo_token, cispo, sapo"),
        ("worker.actor.loss_avg_mode=mean", "one of token, seq, constant"),
        ("worker.actor.entropy_coef=-1", "at least 0 and at most 1,000,000"),
        ("worker.actor.tau_positive=0", "above 0 and at most 1,000,000"),
        ("worker.reward.time_limit=0", "above 0 and at most 86,400"),
        (
            "algorithm.adv_estimator=ppo",
            "one of grpo, grpo_passk, rloo, reinforce_rej, reinforce_plus_plus, gae, remax",
        ),
        ("algorithm.kl_penalty=k3", "one of kl, abs, mse, low_var_kl, full"),
        ("algorithm.kl_type=linear", "one of fixed, adaptive"),
        ("trainer.logger=[console, print]", "one of console, file, tensorboard, wandb, swanlab, mlflow"),
        ("trainer.device=tpu", "one of auto, cpu, cuda"),
        ("trainer.max_bad_steps=0", "at least 1 and at most 1,000,000,000"),
        ("trainer.rollout_save_freq=-1", "at least 0 and at most 1,000,000,000"),
        ("engine=no_such", f"one of auto, {', '.join(ENGINES)}"),
        ("data.val_batch_size=0", "-1 (all) or at least 1: EasyR1's data loader fails on 0, too"),
    ],
)
def test_out_of_range_names_key_value_and_range(minimal: Path, override: str, expected: str) -> None:
    message = error_of(minimal, override)
    assert message.startswith(override.split("=")[0] + " = ")
    assert message.endswith(f"(command line): expected {expected}")


@pytest.mark.parametrize(
    "override",
    [
        "worker.actor.clip_ratio_low=0",
        "worker.actor.clip_ratio_high=4",
        "worker.rollout.top_p=1",
        "worker.rollout.top_k=-1",
        "worker.actor.optim.lr=0",
        "worker.actor.optim.min_lr_ratio=null",
        "worker.actor.loss_type=sapo",
        "data.max_pixels=null",
        "trainer.max_try_make_batch=-1",
    ],
)
def test_edges_that_are_allowed(minimal: Path, override: str) -> None:
    load_config(minimal, [override, "engine=local"])


@pytest.mark.parametrize("estimator", ["grpo", "grpo_passk", "rloo", "reinforce_rej"])
def test_one_rollout_makes_no_group(minimal: Path, estimator: str) -> None:
    message = error_of(minimal, "worker.rollout.n=1", f"algorithm.adv_estimator={estimator}")
    assert message.startswith("worker.rollout.n = 1 (command line): expected at least 2") and estimator in message
    load_config(minimal, ["worker.rollout.n=1", "algorithm.adv_estimator=reinforce_plus_plus"])


def test_batches_divide(minimal: Path) -> None:
    message = error_of(minimal, "data.rollout_batch_size=12")
    assert message.startswith("data.rollout_batch_size = 12 (command line): expected a multiple of ")
    assert f"worker.actor.global_batch_size = 8 ({minimal} line 6)" in message
    message = error_of(minimal, "worker.actor.micro_batch_size_per_device_for_update=5")
    assert "micro_batch_size_per_device_for_update = 5 (command line): expected a divisor of 32" in message
    load_config(minimal, ["worker.actor.micro_batch_size_per_device_for_update=32"])


def test_low_end_above_high_end(minimal: Path) -> None:
    assert "data.min_pixels = 9 (command line): expected at most data.max_pixels = 4" in error_of(
        minimal, "data.min_pixels=9", "data.max_pixels=4"
    )


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (
            "{tmperature: 1}",
            "tmperature (command line): validation has no such key of its own; did you mean temperature?",
        ),
        ("{n: 0}", "val_override_config.n = 0 (command line): expected at least 1"),
        ("{top_p: high}", "expected a float"),
        ("{temperature: -1}", "expected at least 0"),
    ],
)
def test_validation_overrides(minimal: Path, value: str, part: str) -> None:
    assert part in error_of(minimal, f"worker.rollout.val_override_config={value}")


def test_what_is_needed(minimal: Path) -> None:
    assert error_of(minimal, "data.train_files=").startswith(
        "data.train_files is not set (command line): expected a set"
    )
    assert "worker.actor.model.model_path is not set" in error_of(minimal, "worker.actor.model.model_path=null")
    assert "geometry.py:compute_score" in error_of(minimal, "worker.reward.reward_function=null")
    error = error_of(minimal, "trainer.val_freq=1")
    assert "data.val_files is not set" in error and "trainer.val_freq=-1 for none" in error
    assert "data.val_files" in error_of(minimal, "trainer.val_only=true", "data.train_files=")
    load_config(minimal, ["trainer.val_only=true", "data.train_files=", "data.val_files=owner/problems"])


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("algorithm.adv_estimator=gae", "gae needs a critic"),
        ("algorithm.adv_estimator=remax", "remax needs a greedy baseline"),
        ("algorithm.kl_penalty=full", "supports kl, abs, mse, low_var_kl"),
        ("worker.actor.optim.strategy=adamw_bf16", "supports adamw"),
        ("trainer.critic_warmup=2", "no critic"),
        ("trainer.logger=[console, mlflow]", "supports console, file, tensorboard, wandb, swanlab"),
        ("worker.actor.fsdp.torch_dtype=bf16", "most would never move"),
        ("worker.actor.fsdp.torch_dtype=float16", "expected fp32 or null without LoRA"),
        ("worker.actor.fsdp.mp_param_dtype=fp16", "loss scaling"),
    ],
)
def test_the_embedded_engine_refuses(minimal: Path, override: str, part: str) -> None:
    others = ["data.rollout_batch_size=256", "worker.actor.global_batch_size=256"]
    config = load_config(minimal, [override, *others])  # engine: auto leaves room for an engine that can
    with pytest.raises(UserError, match=override.split("=")[0]):
        ENGINES["local"].check(config)
    message = error_of(minimal, override, "engine=local")
    assert part in message and "(command line)" in message and "\n" not in message
    if "adv_estimator" in override:
        assert "grpo, grpo_passk, rloo, reinforce_rej, reinforce_plus_plus" in message


@pytest.mark.parametrize(
    "override",
    [
        "worker.rollout.val_override_config={temperature: 0}",  # greedy
        "worker.actor.fsdp.torch_dtype=fp32",
        "worker.actor.micro_batch_size_per_device_for_update=1000",  # capped: test_update
    ],
)
def test_the_embedded_engine_takes(minimal: Path, override: str) -> None:
    load_config(minimal, [override, "engine=local"])


def test_weights_that_are_not_trained_may_be_in_bf16(minimal: Path) -> None:
    half = ["worker.actor.fsdp.torch_dtype=bf16", "engine=local"]
    load_config(minimal, [*half, "worker.actor.model.lora.rank=8"])
    load_config(minimal, [*half, "trainer.val_only=true", "data.val_files=owner/problems"])


def test_training_at_temperature_0_is_refused_with_the_reason(minimal: Path) -> None:
    message = error_of(minimal, "worker.rollout.temperature=0")
    assert message.startswith("worker.rollout.temperature = 0.0 (command line): expected a number above 0")
    assert "all rollouts of a prompt are the same" in message and "val_override_config={temperature: 0}" in message
    load_config(minimal, ["worker.rollout.temperature=0", "trainer.val_only=true", "data.val_files=owner/problems"])


def test_the_local_engine_passes_what_it_should(minimal: Path) -> None:
    ENGINES["local"].check(load_config(minimal))


def test_choices_are_those_of_the_core() -> None:
    assert set(LOSS_TYPES) == set(OPTIONS["worker.actor.loss_type"].choices)
    assert set(KL_KINDS) == set(OPTIONS["algorithm.kl_penalty"].choices) - {"full"}


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("echo.coef=-0.5", "echo.coef is -0.5"),
        ("echo.select=best", "echo.select is 'best'"),
        ("echo.splitter=word", "echo.splitter is 'word'"),
        ("echo.k=two", 'echo.k = "two" (command line): expected an int'),
        ("echo.decay=cosine", "echo.decay_steps is 0"),
        ("echo.splitter_kwargs={size: 3}", "echo.splitter_kwargs is {'size': 3}"),
    ],
)
def test_echo_block_is_checked(minimal: Path, override: str, part: str) -> None:
    message = error_of(minimal, override)
    assert part in message and "\n" not in message


@pytest.mark.parametrize("key", ["dynamic_sampling=echo", "keep_all_success_groups=true"])
def test_groups_that_all_succeed_are_kept_by_filtering_alone(minimal: Path, key: str) -> None:
    message = error_of(minimal, f"algorithm.{key}").replace('"', "")
    assert f"algorithm.{key.replace('=', ' = ')} (command line): goes with online_filtering = true" in message


def test_two_keys_that_say_otherwise_of_groups_that_all_succeed(minimal: Path) -> None:
    keys = ["algorithm.online_filtering=true", "algorithm.dynamic_sampling=echo"]
    message = error_of(minimal, *keys, "algorithm.keep_all_success_groups=false")
    assert message.startswith("algorithm.keep_all_success_groups = false (command line): expected true or null with ")
    assert 'algorithm.dynamic_sampling = "echo" (command line)' in message
    for value, kept in (("null", {True}), ("true", {True, False})):
        algorithm = load_config(minimal, [*keys, f"algorithm.keep_all_success_groups={value}"]).algorithm
        assert {term for term in (True, False) if algorithm.keeps_all_success(term)} == kept


def test_a_selector_of_ones_own_is_found_as_other_files_are(minimal: Path, monkeypatch) -> None:
    (minimal.parent / "own_selectors.py").write_text(
        "from echorl_vl.core import register_selector\n"
        "@register_selector('own')\n"
        "def own(step_entropy, eligible, groups, config, generator): ...\n"
    )
    monkeypatch.setattr("echorl_vl.core.selectors.SELECTORS", dict(SELECTORS))
    config = load_config(minimal, ["echo.select=own_selectors.py:own"])  # beside the configuration
    assert config.echo.select == f"{minimal.parent / 'own_selectors.py'}:own"
    assert "it registers own" in error_of(minimal, "echo.select=own_selectors.py:other")


def test_echo_block_reaches_the_core(minimal: Path) -> None:
    config = load_config(minimal, ["echo={splitter: window, splitter_kwargs: {size: 3}, entropy_temperature: 1}"])
    assert config.echo == EchoConfig(splitter="window", splitter_kwargs={"size": 3}, entropy_temperature=1.0)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("data.format_prompt", "no/such.jinja", "no such file in "),
        ("data.override_chat_template", "/no/such.jinja", "no such file"),
        ("data.image_dir", "no_such_folder", "no such folder"),
        ("worker.reward.reward_function", "no_such.py:score", "no such file"),
        ("trainer.load_checkpoint_path", "no/such/checkpoint", "no such folder"),
        ("worker.actor.model.model_path", "./no_such_model", "no such folder"),
        ("worker.actor.model.model_path", "a/b/c", "no such folder"),
        ("data.format_prompt", "{folder}", "this is a folder; expected a file"),
        ("data.image_dir", "{folder}/reward.py", "this is a file; expected a folder"),
    ],
)
def test_files_must_exist(minimal: Path, key: str, value: str, part: str) -> None:
    message = error_of(minimal, f"{key}={value.format(folder=minimal.parent)}")
    assert message.startswith(f"{key} = ") and part in message
    if "no such" in part and not value.startswith("/"):
        assert str(minimal.parent) in message and str(PACKAGE_HOME) in message


def test_paths_are_looked_up_in_order(minimal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    (work / "sets").mkdir(parents=True)
    (work / "sets" / "train.parquet").write_bytes(b"")
    (tmp_path / "sets").mkdir()
    for name in ("train.parquet", "val.jsonl"):
        (tmp_path / "sets" / name).write_bytes(b"")
    monkeypatch.chdir(work)
    config = load_config(
        minimal,
        [
            "data.train_files=sets/train.parquet@train",
            "data.val_files=./sets/val.jsonl",
            "data.image_dir=../sets",
            "worker.actor.model.model_path=echorl_vl/core",
            "worker.actor.model.tokenizer_path=owner/tokenizer",
        ],
    )
    assert config.data.train_files == f"{work}/sets/train.parquet@train"  # the working directory goes first
    assert config.data.val_files == f"{tmp_path}/sets/val.jsonl"  # then the folder of the configuration
    assert config.data.image_dir == f"{tmp_path}/sets"
    assert config.worker.actor.model.model_path == str(PACKAGE_HOME / "echorl_vl" / "core")  # then the package
    assert config.worker.actor.model.tokenizer_path == "owner/tokenizer"  # a hub id stays
    assert config.worker.reward.reward_function == f"{tmp_path}/reward.py:compute_score"


@pytest.mark.parametrize("value", ["", "\0", "~no_such_user_at_all/x", "x" * 5000])
def test_find_path_survives_odd_values(value: str) -> None:
    assert find_path(value) is None


@pytest.mark.parametrize("value", ["1e308", "9" * 400])
def test_a_number_beyond_all_bounds_is_told_the_range(minimal: Path, value: str) -> None:
    assert "at most 100" in error_of(minimal, f"worker.rollout.temperature={value}")
