"""Every key that EasyR1's configuration has, and every value of its examples, is taken here or refused with a reason.

The fields are those of EasyR1's dataclasses at commit b44b311 (easyr1_defaults.yaml), those with `init=False` included:
OmegaConf takes them in a file, and EasyR1 writes over them at start.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from refused import error_of

from echorl_vl.config import Config, config_to_dict, load_config
from echorl_vl.config.dump import get_value
from echorl_vl.config.names import key_names
from echorl_vl.config.schema import OPTIONS, SECTIONS
from echorl_vl.engines.easyr1.names import DERIVED, FORKS, GONE
from echorl_vl.safe_yaml import Loader
from echorl_vl.spelling import nearest_key
from echorl_vl.start_notes import start_notes

DEFAULTS = yaml.load((Path(__file__).parent / "easyr1_defaults.yaml").read_text(), Loader)


def leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    """Dotted key -> value; an empty mapping is a value."""
    found: dict[str, object] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return found


EASYR1 = leaves(DEFAULTS)
KEYS = list(SECTIONS) + list(OPTIONS)

# The overrides of EasyR1's 20 example scripts, each distinct one once (paths of its repository aside).
EXAMPLES = r"""
algorithm.adv_estimator=reinforce_plus_plus algorithm.disable_kl=True algorithm.filter_high=0.99
algorithm.filter_low=0.01
algorithm.filter_key=accuracy_normalized algorithm.kl_coef=1.0e-3 algorithm.kl_coef=4.0e-2 algorithm.kl_penalty=kl
algorithm.online_filtering=True algorithm.use_kl_loss=false data.filter_overlong_prompts=false
data.max_prompt_length=3072 data.max_response_length=20480 data.max_response_length=64
data.mini_rollout_batch_size=128 data.rollout_batch_size=512 data.seed=42 data.val_batch_size=60
data.train_files=hiyouga/geometry3k@train data.val_files=leonardPKU/GEOQA_8K_R1V@test trainer.experiment_name=clevr
trainer.logger=['console','swanlab'] 'trainer.logger=["console","wandb"]' trainer.max_try_make_batch=10
trainer.n_gpus_per_node=1 trainer.nnodes=1 trainer.project_name=easy_r1 trainer.save_freq=10 trainer.total_epochs=3
trainer.val_freq=2 trainer.val_generations_to_log=10 worker.actor.clip_ratio_dual=10.0 worker.actor.clip_ratio_high=4
worker.actor.clip_ratio_high=4e-4 worker.actor.clip_ratio_low=0 worker.actor.clip_ratio_low=3e-4
worker.actor.fsdp.torch_dtype=bf16 worker.actor.global_batch_size=32 worker.actor.loss_avg_mode=seq
worker.actor.loss_type=cispo worker.actor.loss_type=gspo_token worker.actor.loss_type=sapo
worker.actor.max_grad_norm=0.1 worker.actor.micro_batch_size_per_device_for_experience=2
worker.actor.micro_batch_size_per_device_for_update=1 worker.actor.model.lora.alpha=64 worker.actor.model.lora.rank=64
worker.actor.model.lora.target_modules=all-linear worker.actor.model.model_path=Qwen/Qwen2.5-VL-3B-Instruct
worker.actor.model.trust_remote_code=true worker.actor.optim.lr=1.0e-5 worker.actor.optim.lr_scheduler_type=constant
worker.actor.optim.lr_warmup_ratio=0.05 worker.actor.optim.lr_warmup_steps=10 worker.actor.optim.strategy=adamw_bf16
worker.actor.optim.weight_decay=1.0e-1 worker.actor.ulysses_size=8 worker.rollout.enable_chunked_prefill=false
'worker.reward.reward_function_kwargs={"max_response_length":20480,"overlong_buffer_length":4096}'
worker.rollout.gpu_memory_utilization=0.8 worker.rollout.limit_images=2 worker.rollout.max_num_batched_tokens=22528
worker.rollout.n=16 worker.rollout.temperature=0.9 worker.rollout.tensor_parallel_size=8 worker.rollout.top_p=0.95
'worker.rollout.val_override_config={"n":16,"temperature":1.0,"top_p":0.7}'
"""


def test_every_field_of_easyr1_is_a_key_here_or_one_that_it_derives() -> None:
    assert len(EASYR1) == 193
    assert [key for key in EASYR1 if key not in OPTIONS and key not in DERIVED] == []
    assert set(DERIVED) <= set(EASYR1) and not set(DERIVED) & set(OPTIONS)
    assert set(DERIVED.values()) <= set(OPTIONS)


def test_defaults_are_those_of_easyr1_but_for_code_that_comes_with_a_model() -> None:
    ours = leaves(config_to_dict(Config()))
    differ = {key for key, value in EASYR1.items() if key not in DERIVED and ours[key] != value}
    assert differ == {"worker.actor.model.trust_remote_code", "worker.critic.model.trust_remote_code"}


def test_code_that_comes_with_a_critic_runs_where_it_is_asked_for(minimal: Path) -> None:
    asked = load_config(minimal, ["worker.critic.model.trust_remote_code=true"])
    assert asked.worker.critic.model.trust_remote_code and not asked.worker.actor.model.trust_remote_code


@pytest.mark.parametrize("override", shlex.split(EXAMPLES))
def test_every_value_of_its_examples_is_taken(minimal: Path, override: str) -> None:
    fitting = ["data.rollout_batch_size=512", "worker.actor.global_batch_size=128", "data.val_files=owner/set@test"]
    key = override.partition("=")[0]
    config = load_config(minimal, [*fitting, override])
    assert get_value(config, key) is not None and config.origin(key) == "command line"


@pytest.mark.parametrize("key", DERIVED)
def test_a_key_that_easyr1_derives_is_taken_and_has_no_effect(minimal: Path, key: str) -> None:
    plain, config = load_config(minimal), load_config(minimal, [f"{key}=something"])
    assert config == plain
    source = DERIVED[key]
    notes = [line for line in start_notes(config) if key in line]
    assert len(notes) == 1 and notes[0].startswith(f'{key} = "something" (command line) has no effect, as in EasyR1: ')
    assert f"{source} = " in notes[0] and notes[0].endswith(" stands for it")


def test_it_is_taken_in_a_file_and_silent_where_it_says_the_same(minimal: Path, write) -> None:
    ref = "  ref:\n    padding_free: true\n    dynamic_batching: false\n"
    path = write(minimal.read_text().replace("  rollout:\n", f"{ref}  rollout:\n    response_length: 512\n"))
    notes = [line for line in start_notes(load_config(path)) if "no effect" in line]
    assert len(notes) == 1
    assert notes[0].startswith(f"worker.ref.dynamic_batching = false ({path} line 11) has no effect, as in EasyR1: ")
    assert "worker.actor.dynamic_batching = true (default) stands for it" in notes[0]


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("worker.rollout.dtype=auto", ["one of bf16", "EasyR1 does not know either"]),
        ("worker.actor.max_grad_norm=0", ["scale every gradient to nothing, in EasyR1 too"]),
        ("worker.critic.max_grad_norm=0.0", ["scale every gradient to nothing, in EasyR1 too"]),
        ("data.seed=-1", ["at least 0", "EasyR1 takes -1 for one seed like others"]),
        ("worker.rollout.seed=-1", ["at least 0", "vLLM takes -1 for a new one at each start"]),
        ("trainer.max_steps=-1", ["EasyR1 would train no step with it", "null: trainer.total_epochs"]),
        ("worker.actor.optim.lr_warmup_steps=-1", ["null: lr_warmup_ratio"]),
        ("data.val_batch_size=0", ["-1 (all) or at least 1", "EasyR1's data loader fails on 0, too"]),
        ("data.min_pixels=0", ["null is no lower limit"]),
        ("worker.rollout.val_override_config={detokenize: true}", ["detokenize", "it changes no response"]),
        ("worker.rollout.val_override_config={max_tokens: 9}", ["n, temperature, top_p, top_k, seed, ignore_eos"]),
        ("worker.rollout.val_override_config={tensor_parallel_size: 2}", ["validation has no such key of its own"]),
    ],
)
def test_a_value_of_another_meaning_is_refused_with_the_reason(minimal: Path, override: str, parts: list[str]) -> None:
    message = error_of(minimal, override)
    assert message.startswith(override.partition("=")[0]) and "\n" not in message
    for part in parts:
        assert part in message


def test_only_that_value_gets_the_reason(minimal: Path) -> None:
    assert "EasyR1" not in error_of(minimal, "data.seed=-2")


# --- names ---


@pytest.mark.parametrize(
    "key",
    [
        "algorithm.aug_entropy_loss_coef",
        "worker.actor.is_noisy",
        "worker.rollout.question_num",
        "rollout.question_num",
        "algorithm.use_kl_prcp",
        "worker.actor.aug_type",
        "algorithm.use_vppo_on_perception",
        "trainer.response_path",
    ],
)
def test_a_key_of_a_fork_is_named_as_one(minimal: Path, key: str) -> None:
    message = error_of(minimal, f"{key}=1")
    assert message.startswith(f"{key} (command line): a key of ") and "a fork of EasyR1" in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    "key",
    [
        "worker.reward.reward_type",
        "worker.rollout.do_sample",
        "trainer.remove_ckpt_after_load",
        "worker.actor.clip_ratio",
        "trainer.report_kl",
        "data.system_prompt",
    ],
)
def test_a_key_that_easyr1_dropped_says_so(minimal: Path, key: str) -> None:
    assert "EasyR1 had it in earlier versions" in error_of(minimal, f"{key}=1")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("worker.actor.kl_loss_coef", "algorithm.kl_coef"),
        ("worker.actor.kl_loss_type", "algorithm.kl_penalty"),
        ("worker.actor.entropy_coeff", "worker.actor.entropy_coef"),
        ("worker.critic.ulysses_sequence_parallel_size", "worker.critic.ulysses_size"),
        ("worker.ref.offload.param_offload", "worker.ref.offload.offload_params"),
        ("worker.actor.fsdp.optimizer_offload", "worker.actor.offload.offload_optimizer"),
        ("worker.actor.optim.warmup_style", "worker.actor.optim.lr_scheduler_type"),
        ("worker.actor.optim.lr_warmup_steps_ratio", "worker.actor.optim.lr_warmup_ratio"),
        ("worker.reward.score_function", "worker.reward.reward_function"),
        ("worker.reward.compute_score", "worker.reward.reward_function"),
        ("trainer.total_episodes", "trainer.total_epochs"),
        ("trainer.test_freq", "trainer.val_freq"),
    ],
)
def test_an_old_name_leads_to_the_new_one(minimal: Path, key: str, meant: str) -> None:
    assert error_of(minimal, f"{key}=1") == f"{key} (command line): unknown key; did you mean {meant}?"


def test_the_page_has_a_line_for_every_key_of_a_fork() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/easyr1.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    for name in FORKS:
        assert sum(f"`{name}`" in line.split(" | ")[0] for line in lines) == 1, name


def test_every_name_of_the_tables_leads_to_a_key() -> None:
    for name in key_names("renamed"):
        assert nearest_key(name, KEYS, key_names("renamed")) in KEYS, name
    known = {key.rpartition(".")[2] for key in KEYS}
    assert not known & {*GONE, *FORKS, *key_names("renamed")}


@pytest.mark.parametrize(
    "key",
    [
        "algorithm.token_entropy_quantile",
        "worker.actor.noise_level",
        "worker.rollout.num_views",
        "data.question_variants",
        "worker.actor.perception_weight",
        "trainer.resume_mode",
        "algorithm.advantage_shaping",
    ],
)
def test_a_shared_beginning_suggests_nothing(key: str) -> None:
    assert nearest_key(key, KEYS) is None
