"""Loading: EasyR1's keys, defaults, overrides, types, and messages for values of another type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from refused import Write, error_of

from echorl_vl.config import Config, config_to_dict, load_config
from echorl_vl.config.dump import to_yaml
from echorl_vl.core.config import EchoConfig

# The keys of EasyR1's own example configuration, with values of their types.
EASYR1_STYLE = """
data:
  train_files: hiyouga/math12k@train
  val_files: hiyouga/math12k@test
  prompt_key: problem
  answer_key: answer
  image_key: images
  video_key: videos
  image_dir: null
  video_fps: 2.0
  max_prompt_length: 2048
  max_response_length: 2048
  rollout_batch_size: 512  # prompts
  mini_rollout_batch_size: null
  val_batch_size: 1024
  format_prompt: ./prompts/math.jinja
  override_chat_template: null
  shuffle: true
  seed: 1
  min_pixels: 262144
  max_pixels: 4194304
  filter_overlong_prompts: true

algorithm:
  adv_estimator: grpo
  disable_kl: false
  use_kl_loss: true
  kl_penalty: low_var_kl
  kl_coef: 1.0e-2
  online_filtering: false
  filter_key: overall
  filter_low: 0.01
  filter_high: 0.99

worker:
  actor:
    global_batch_size: 128
    micro_batch_size_per_device_for_update: 1
    micro_batch_size_per_device_for_experience: 2
    max_grad_norm: 1.0
    padding_free: true
    dynamic_batching: true
    ulysses_size: 1
    model:
      model_path: Qwen/Qwen2.5-7B-Instruct
      enable_gradient_checkpointing: true
      trust_remote_code: false
      freeze_vision_tower: false
      lora:
        rank: 0
        alpha: 64
        target_modules: all-linear
        exclude_modules: .*visual.*
    optim:
      lr: 1.0e-6
      weight_decay: 1.0e-2
      strategy: adamw
      lr_warmup_ratio: 0.0
    fsdp:
      enable_full_shard: true
      enable_cpu_offload: false
      enable_rank0_init: true
    offload:
      offload_params: true
      offload_optimizer: true
  rollout:
    n: 5
    temperature: 1.0
    top_p: 1.0
    limit_images: 0
    gpu_memory_utilization: 0.6
    enforce_eager: false
    enable_chunked_prefill: false
    tensor_parallel_size: 2
    disable_tqdm: false
    val_override_config:
      temperature: 0.6
      top_p: 0.95
      n: 1
  ref:
    fsdp:
      enable_full_shard: true
      enable_cpu_offload: true
      enable_rank0_init: true
    offload:
      offload_params: false
  reward:
    reward_function: ./reward.py:compute_score

trainer:
  total_epochs: 15
  max_steps: null
  project_name: easy_r1
  experiment_name: qwen2_5_7b_math_grpo
  logger: ["file", "wandb"]
  nnodes: 1
  n_gpus_per_node: 8
  max_try_make_batch: 20
  val_freq: 5
  val_before_train: true
  val_only: false
  val_generations_to_log: 3
  save_freq: 5
  save_limit: 3
  save_model_only: false
  save_checkpoint_path: null
  load_checkpoint_path: null
  find_last_checkpoint: true
"""


@pytest.mark.parametrize("engine", ["auto", "local", "easyr1"])
def test_easyr1_file_loads(write: Write, tmp_path: Path, engine: str) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "math.jinja").write_text("{{ content }}")
    config = load_config(write(EASYR1_STYLE), [f"engine={engine}"])
    assert config.data.max_prompt_length == 2048
    assert config.data.format_prompt == str(tmp_path / "prompts" / "math.jinja")
    assert config.algorithm.kl_coef == 0.01
    assert config.worker.actor.optim.lr == 1e-6
    assert config.worker.actor.model.lora.exclude_modules == ".*visual.*"
    assert config.worker.rollout.val_override_config == {"temperature": 0.6, "top_p": 0.95, "n": 1}
    assert config.worker.ref.fsdp.enable_cpu_offload is True
    assert config.worker.actor.fsdp.enable_cpu_offload is False
    assert config.trainer.logger == ("file", "wandb")
    assert config.trainer.max_steps is None
    assert config.echo == EchoConfig()


def test_ours_and_defaults() -> None:
    config = Config()
    assert config.engine == "auto"
    assert config.worker.actor.model.trust_remote_code is False
    assert config.worker.critic.model.trust_remote_code is False
    assert config.worker.actor.clip_ratio_high == 0.3
    assert config.worker.actor.optim.betas == (0.9, 0.999)
    assert config.worker.actor.entropy_coef == 0.0
    assert config.worker.reward.time_limit == 10.0
    assert config.algorithm.norm_adv_by_std_in_grpo is True
    assert (config.trainer.device, config.trainer.max_bad_steps, config.trainer.rollout_save_freq) == ("auto", 5, 1)


def test_overrides_beat_the_file(minimal: Path) -> None:
    config = load_config(
        minimal,
        [
            "worker.rollout.n=8",
            "echo.coef=0",
            "worker.actor.optim.lr=1e-5",
            "trainer.logger=['console','tensorboard']",
            "worker.rollout.val_override_config={n: 2, top_p: 0.7}",
            "worker.rollout.val_override_config.n=1",
            "echo={select: topk, k: 2}",
            "trainer.experiment_name=0.10",
            "worker.actor.model.lora.exclude_modules=*visual*",
            "data.max_pixels=null",
            "data.val_files=",
            "worker.rollout.n=16",
        ],
    )
    assert config.worker.rollout.n == 16
    assert config.echo == EchoConfig(coef=0.0, select="topk", k=2)
    assert config.worker.actor.optim.lr == 1e-5
    assert config.trainer.logger == ("console", "tensorboard")
    assert config.worker.rollout.val_override_config == {"n": 1, "top_p": 0.7}
    assert config.trainer.experiment_name == "0.10"
    assert config.worker.actor.model.lora.exclude_modules == "*visual*"
    assert config.data.max_pixels is None
    assert config.data.val_files == ""
    assert config.origin("worker.rollout.n") == "command line"
    assert config.origin("data.train_files") == f"{minimal} line 2"
    assert config.origin("data.seed") == "default"


def test_two_loads_share_nothing(minimal: Path) -> None:
    load_config(minimal).worker.reward.reward_function_kwargs["x"] = 1
    assert load_config(minimal).worker.reward.reward_function_kwargs == {}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.seed=7.0", 7),
        ("data.seed='7'", 7),
        ("data.shuffle=off", False),
        ("data.shuffle=0", False),
        ("algorithm.gamma=1", 1.0),
        ("algorithm.kl_coef=1e-3", 0.001),
        ("trainer.logger=console", ("console",)),
        ("trainer.experiment_name=2024-01-01", "2024-01-01"),
        ("trainer.experiment_name=true", "true"),
        ("worker.actor.optim.betas=[0, 0.95]", (0.0, 0.95)),
    ],
)
def test_lossless_conversions(minimal: Path, override: str, expected: object) -> None:
    value: object = load_config(minimal, [override])
    for name in override.split("=")[0].split("."):
        value = getattr(value, name)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.seed=7.5", "an int"),
        ("data.seed=true", "an int"),
        ("data.seed=null", "an int"),
        ("data.seed=[1]", "an int"),
        ("data.shuffle=maybe", "a bool"),
        ("data.shuffle=2", "a bool"),
        ("algorithm.gamma=high", "a float"),
        ("algorithm.gamma=.nan", "a float"),
        ("algorithm.gamma=.inf", "a float"),
        ("data.max_pixels=many", "an int or null"),
        ("trainer.experiment_name=[a]", "a string"),
        ("data.image_dir=[a, b]", "a string or null"),
        ("trainer.project_name=[a, b]", "a string"),
        ("trainer.logger={a: 1}", "a list of strings"),
        ("worker.actor.optim.betas=[0.9]", "a list of 2 floats"),
        ("worker.reward.reward_function_kwargs=3", "a mapping"),
        ("data.seed=???", "a value (an int)"),
        ("data.train_files=???", "a value (a string or a list of strings)"),
    ],
)
def test_an_invalid_type_names_key_value_and_type(minimal: Path, override: str, expected: str) -> None:
    message = error_of(minimal, override)
    key, _, _ = override.partition("=")
    assert message.startswith(f"{key} = ") and "(command line)" in message
    assert message.endswith(f"expected {expected}")


def test_an_invalid_type_in_a_file_names_the_line(write: Write, minimal: Path) -> None:
    path = write(minimal.read_text() + "algorithm:\n  gamma: high\n")
    assert error_of(path) == f'algorithm.gamma = "high" ({path} line 16): expected a float'


def test_section_that_is_no_section(minimal: Path) -> None:
    assert "expected a section with keys such as n, " not in error_of(minimal, "worker.rollout=5").split("name")[0]
    assert "worker.rollout (command line): expected a section" in error_of(minimal, "worker.rollout=5")
    assert "expected a section" in error_of(minimal, "echo=[1]")


def test_an_empty_section_is_all_defaults(minimal: Path) -> None:
    assert load_config(minimal, ["echo="]).echo == EchoConfig()


def test_problem_sets_are_one_place_or_several(minimal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list, commas and patterns; each place becomes absolute with its split, what is not here stays as it is."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.csv", "c,d.jsonl"):
        (tmp_path / name).write_text("")
    places = {
        "[a.jsonl, b.csv@train, owner/name@test]": [
            f"{tmp_path}/a.jsonl",
            f"{tmp_path}/b.csv@train",
            "owner/name@test",
        ],
        "a.jsonl,b.csv@train": f"{tmp_path}/a.jsonl,{tmp_path}/b.csv@train",
        '"c,d.jsonl"': f"{tmp_path}/c,d.jsonl",
        "*.jsonl@train": f"{tmp_path}/*.jsonl@train",
        "nothing*.jsonl": "nothing*.jsonl",
    }
    for given, expected in places.items():
        config = load_config(minimal, [f"data.train_files={given}"])
        assert config.data.train_files == expected
        saved = tmp_path / "saved.yaml"
        saved.write_text(to_yaml(config))
        assert load_config(saved).data.train_files == expected
    assert "got U+0007" in error_of(minimal, r'data.train_files=[a.jsonl, "b\a.jsonl"]')
    assert "data.train_files" in error_of(minimal, "data.train_files=[a.jsonl, {b: c}]")


def test_all_problems_are_reported_together(write: Write, minimal: Path) -> None:
    path = write(minimal.read_text().replace("n: 4", "n: four") + "echo: {coef: -1, select: best}\n")
    lines = error_of(path, "data.sed=3", "data.rollout_batch_size=9", "algorithm.gamma=2").splitlines()
    assert lines[0] == "6 problems in the configuration:"
    assert all(line.startswith("  ") for line in lines[1:])
    for part in ["data.sed", "worker.rollout.n", "rollout_batch_size = 9", "gamma = 2", "echo.coef", "echo.select"]:
        assert sum(part in line for line in lines[1:]) == 1


def test_an_invalid_value_does_not_cause_a_second_message(minimal: Path) -> None:
    """The key of an invalid value stands at its default (n = 1), which would fail another check."""
    assert error_of(minimal, "worker.rollout.n=many").count("\n") == 0


def test_nothing_heavy_is_imported() -> None:
    heavy = ("transformers", "datasets", "peft", "PIL")
    code = f"import sys, echorl_vl.config; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_sections_are_independent_objects() -> None:
    one, other = Config(), Config()
    one.worker.actor.optim.lr = 3.0
    one.worker.actor.model.override_config["x"] = 1
    assert config_to_dict(other) == config_to_dict(Config())
    assert one.worker.critic.optim.lr == 1e-6
