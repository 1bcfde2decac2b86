"""The engine `easyr1`, and the checks of its configuration.

EasyR1 itself reports most of these errors minutes later, in the traceback of a worker, and never reports a batch that
its ranks can't split evenly.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from echorl_vl.algorithms import Capability
from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.dump import get_value
from echorl_vl.config.issues import at, issue_at
from echorl_vl.engines.base import Engine, register
from echorl_vl.engines.easyr1.checkpoints import newest_checkpoint
from echorl_vl.engines.easyr1.dry_run import ENVIRONMENT
from echorl_vl.engines.easyr1.hooks import HOST
from echorl_vl.engines.easyr1.names import KEY_NAMES
from echorl_vl.engines.general_issues import batch_issues
from echorl_vl.engines.hub import is_hub_id
from echorl_vl.engines.ray.adjusted import data_ranks, world_size
from echorl_vl.engines.ray.base import RayEngine
from echorl_vl.engines.ray.checks import gpus, length_issues, rank_issues, set_issues
from echorl_vl.engines.resources import read_model_config

_MODEL = "worker.actor.model.model_path"
_DEVICES = ("trainer.n_gpus_per_node", "trainer.nnodes", "worker.rollout.tensor_parallel_size")

OF_EACH_ROLE = {
    "optim.lr_scheduler_type": (("constant", "cosine"), "engine easyr1 supports constant, cosine"),
    "strategy": (("fsdp",), "engine easyr1 supports fsdp"),
}

ACCEPTS = {
    **{f"worker.actor.{key}": values for key, values in OF_EACH_ROLE.items()},
    "worker.hybrid_engine": ((True,), "engine easyr1 supports true"),
    "worker.rollout.name": (("vllm",), "engine easyr1 samples with vllm"),
    "algorithm.adv_estimator": (
        ("grpo", "grpo_passk", "rloo", "reinforce_rej", "reinforce_plus_plus", "gae"),
        "engine easyr1 supports the others: EasyR1's remax multiplies (B,) with (B, T) and fails",
    ),
}
"""Key -> the supported values, and the text of the error."""

MODEL_TYPES = (
    "llama", "gemma", "gemma2", "mistral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
    "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe",
)  # fmt: skip
"""`model_type` of the models that EasyR1 can pack (`padding_free`); any other ends the run in a worker."""

SMALLER = (
    "worker.actor.model.lora.rank=64, or worker.actor.optim.strategy=adamw_bf16 with worker.actor.fsdp.torch_dtype=bf16"
)
"""Settings that reduce memory."""


@register
class EasyR1Engine(RayEngine):
    name = "easyr1"
    summary = "EasyR1: Ray, FSDP and vLLM, on one GPU or many"
    capabilities = frozenset({Capability.POLICY_LOSS, Capability.SHAPED_REWARDS, Capability.OFF_POLICY_ROWS})
    accepts = ACCEPTS
    key_names = KEY_NAMES
    auto_order = 10
    host = HOST
    smaller = SMALLER
    environment = ENVIRONMENT
    newest_checkpoint = staticmethod(newest_checkpoint)

    def own_issues(self, config: Config) -> list[ConfigIssue]:
        return [
            *_refused(config),
            *set_issues(config, "EasyR1"),
            *_ranks(config),
            *_batches(config),
            *length_issues(config),
            *_filtering(config),
        ]

    def model_issues(self, config: Config) -> Iterator[ConfigIssue]:
        yield from _model_types(config)
        yield from _critic(config)
        yield from _sequences(config)

    def suits(self, config: Config) -> tuple[bool, str]:
        if config.trainer.device == "cpu":
            return False, "trainer.device = cpu"
        if not self.is_installed():
            return False, f"EasyR1 is not installed: found {HOST.found()}"
        import torch

        if not torch.cuda.is_available() and not os.environ.get("RAY_ADDRESS"):
            return False, "torch finds no GPU"
        return True, "EasyR1 is installed and torch finds a GPU"

    def fault_of_fallback(self, config: Config, taken: Engine) -> str | None:
        """Refuse a configuration for GPUs, which sets devices and a model of the hub. A local model folder is fine."""
        asked = next((key for key in _DEVICES if config.origin(key) != "default"), None)
        path = config.worker.actor.model.model_path
        if config.trainer.device == "cpu" or asked is None or not path or not is_hub_id(path):
            return None
        return (
            f"{_MODEL} = {path} ({config.origin(_MODEL)}): this configuration is for EasyR1 and GPUs "
            f"({asked} is set, {config.origin(asked)}), but {self.suits(config)[1]}. Either run it on a machine with a "
            f"GPU and EasyR1 (docs/easyr1.md has the installation), or give a local model ({_MODEL}=FOLDER) or train "
            f"configs/geo3k_tiny.yaml, or set engine={taken.name} to load {path} from the hub and train it with the "
            f"{taken.name} engine."
        )


def _refused(config: Config) -> Iterator[ConfigIssue]:
    for role in config.algorithm.trained_roles[1:]:
        for name, (accepted, why) in OF_EACH_ROLE.items():
            if get_value(config, f"worker.{role}.{name}") not in accepted:
                yield issue_at(config, f"worker.{role}.{name}", why)
    if not config.data.val_files:
        expected = "expected a set of problems: engine easyr1 always validates after the last step"
        yield issue_at(config, "data.val_files", expected)
    if config.algorithm.kl_penalty == "full" and not config.algorithm.disable_kl:
        yield issue_at(config, "algorithm.kl_penalty", "engine easyr1 supports kl, abs, mse, low_var_kl")
    if not config.algorithm.norm_adv_by_std_in_grpo and config.algorithm.adv_estimator != "grpo":
        key = "algorithm.norm_adv_by_std_in_grpo"
        yield issue_at(config, key, "false needs algorithm.adv_estimator = grpo", "algorithm.adv_estimator")


def _ranks(config: Config) -> Iterator[ConfigIssue]:
    yield from rank_issues(config, "worker.rollout.tensor_parallel_size", "worker.actor.ulysses_size")
    world = world_size(config)
    prompts = "data.mini_rollout_batch_size" if config.data.mini_rollout_batch_size else "data.rollout_batch_size"
    if get_value(config, prompts) % world:
        yield issue_at(config, prompts, f"expected a multiple of {gpus(config)}, which sample equal numbers of prompts")


def _batches(config: Config) -> Iterator[ConfigIssue]:
    world, n, rollouts = world_size(config), config.worker.rollout.n, config.data.rollout_batch_size
    for role in config.algorithm.trained_roles:
        if role != "actor":  # every engine checks the actor's batches
            yield from batch_issues(config, role)
        section, ranks = get_value(config, f"worker.{role}"), data_ranks(config, role)
        batch_key, prefix = f"worker.{role}.global_batch_size", f"worker.{role}.micro_batch_size_per_device_for"
        rows = section.global_batch_size * n
        if rows % ranks:
            expected = (
                f"times worker.rollout.n = {n} makes {rows} rollouts; expected a multiple of the {ranks} data ranks"
            )
            yield issue_at(config, batch_key, expected, "worker.rollout.n")
            continue
        update, experience = f"{prefix}_update", f"{prefix}_experience"
        micro = get_value(config, update)
        if (rows // ranks) % micro and rows % micro == 0:  # else already reported
            expected = f"expected a divisor of {rows // ranks}, the rollouts of one rank in an optimizer step"
            yield issue_at(config, update, expected, batch_key, "worker.rollout.n")
        elif section.fsdp.enable_cpu_offload and rows // ranks != micro:
            expected = f"expected {rows // ranks}: fsdp.enable_cpu_offload does not go with several micro-batches"
            yield issue_at(config, update, expected, batch_key)
        per_rank = rollouts * n // ranks
        if not section.dynamic_batching and rollouts * n % ranks == 0 and per_rank % get_value(config, experience):
            expected = f"expected a divisor of {per_rank}, the rollouts of one rank, without dynamic_batching"
            yield issue_at(config, experience, expected, "data.rollout_batch_size", "worker.rollout.n")
        elif rollouts * n % get_value(config, experience):
            expected = f"expected a divisor of {rollouts * n}, which is data.rollout_batch_size times worker.rollout.n"
            yield issue_at(config, experience, expected, "data.rollout_batch_size", "worker.rollout.n")
        if rollouts * n % world:
            expected = (
                f"times worker.rollout.n = {n} makes {rollouts * n} rollouts; expected a multiple of {world} GPUs"
            )
            yield issue_at(config, "data.rollout_batch_size", expected, "worker.rollout.n")


def _filtering(config: Config) -> Iterator[ConfigIssue]:
    """EasyR1's default `filter_key: overall` keeps a group of correct answers in a bad format, whose mean is 0.9."""
    algorithm = config.algorithm
    name = "dynamic_sampling" if algorithm.keep_all_success_groups is None else "keep_all_success_groups"
    if algorithm.online_filtering and algorithm.keeps_all_success(True) and algorithm.filter_key != "accuracy":
        expected = f"expected accuracy with {at(config, f'algorithm.{name}')}, which keeps the groups that all succeed"
        yield issue_at(config, "algorithm.filter_key", expected, f"algorithm.{name}")


def _model_types(config: Config) -> Iterator[ConfigIssue]:
    """Models that EasyR1 can't pack, or that a CPU dry run can't sample from."""
    from echorl_vl.models import find_family, has_images

    for role in config.algorithm.trained_roles:
        section, key = get_value(config, f"worker.{role}"), f"worker.{role}.model.model_path"
        found, where = read_model_config(section.model), f"{key} = {section.model.model_path} ({config.origin(key)})"
        if section.padding_free and found.model_type not in MODEL_TYPES:
            yield ConfigIssue(
                (key,),
                f"{where}: EasyR1 can't pack a {found.model_type!r} model; expected one of {', '.join(MODEL_TYPES)}, "
                f"or worker.{role}.padding_free = false",
            )
        elif config.trainer.device == "cpu" and has_images(found) and find_family(found) is None:
            yield ConfigIssue(
                (key,),
                f"{where}: a CPU dry run samples with the local engine, which has no model family for "
                f"{found.model_type!r}; expected a model that docs/models.md lists",
            )


def _critic(config: Config) -> Iterator[ConfigIssue]:
    """EasyR1's critic is a token classifier of transformers. Vision models have none, and the default is two labels."""
    if not config.algorithm.has_critic:
        return
    from echorl_vl.models import has_images

    model, key = config.worker.critic.model, "worker.critic.model.model_path"
    found = read_model_config(model)
    if has_images(found):
        expected = "a vision model can't be a critic; expected a text model, or algorithm.adv_estimator = grpo"
        yield ConfigIssue((key,), f"{key} = {model.model_path} ({config.origin(key)}): {expected}")
    elif model.override_config.get("num_labels", found.num_labels) != 1:
        key = "worker.critic.model.override_config"
        yield ConfigIssue((key,), f"{key}: a critic predicts one value per token; expected {{num_labels: 1}}")


def _sequences(config: Config) -> Iterator[ConfigIssue]:
    """Ulysses splits the attention heads over the ranks that share a sequence; EasyR1 supports it for text models."""
    key, ranks = "worker.actor.ulysses_size", config.worker.actor.ulysses_size
    if ranks == 1:
        return
    from echorl_vl.models import has_images

    found, where = read_model_config(config.worker.actor.model), f"{key} = {ranks} ({config.origin(key)})"
    heads = getattr(found, "text_config", found).num_attention_heads
    if has_images(found):
        yield ConfigIssue(
            (key,), f"{where}: expected 1 for a vision model, whose image tokens EasyR1 would split over ranks"
        )
    elif heads % ranks:
        yield ConfigIssue((key,), f"{where}: expected a divisor of the {heads} attention heads")
