"""The registered local engine: what it supports, and what it needs of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil

from echorl_vl.algorithms import Capability
from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.issues import issue_at
from echorl_vl.engines.base import Engine, engines_on_many_gpus, register
from echorl_vl.engines.resources import GIB, TRAINED, Machine

ESTIMATORS = ("grpo", "grpo_passk", "rloo", "reinforce_rej", "reinforce_plus_plus")
KL_PENALTIES = ("kl", "abs", "mse", "low_var_kl")
LOGGERS = ("console", "file", "tensorboard", "wandb", "swanlab")

ACCEPTS = {
    "algorithm.adv_estimator": (
        ESTIMATORS,
        "gae needs a critic, and remax needs a greedy baseline rollout of each prompt, which engine local does not "
        "have; "
        f"expected {', '.join(ESTIMATORS)}",
    ),
    "algorithm.kl_penalty": (KL_PENALTIES, f"engine local supports {', '.join(KL_PENALTIES)}"),
    "worker.actor.optim.strategy": (("adamw",), "engine local supports adamw"),
    "trainer.critic_warmup": ((0,), "the local engine has no critic; expected 0"),
    "trainer.logger": (LOGGERS, f"engine local supports {', '.join(LOGGERS)}"),
}
"""Key -> the supported values, and the text of an error for others."""

IGNORES = (
    "data.filter_overlong_prompts_workers", "data.video_fps",
    "trainer.n_gpus_per_node", "trainer.nnodes", "trainer.ray_timeline", "trainer.val_generations_to_log",
    "worker.critic.*", "worker.hybrid_engine", "worker.actor.strategy", "worker.ref.strategy", "worker.*.offload.*",
    "worker.*.fsdp.enable_*", "worker.*.fsdp.fsdp_size", "worker.*.fsdp.use_orig_params",
    "worker.*.fsdp.mp_reduce_dtype", "worker.*.fsdp.mp_buffer_dtype",
    "worker.actor.dynamic_batching", "worker.actor.ulysses_size", "worker.actor.use_torch_compile",
    "worker.rollout.disable_*", "worker.rollout.dtype", "worker.rollout.enable_chunked_prefill",
    "worker.rollout.enforce_eager", "worker.rollout.gpu_memory_utilization", "worker.rollout.ignore_eos",
    "worker.rollout.limit_images", "worker.rollout.max_model_len", "worker.rollout.max_num_batched_tokens",
    "worker.rollout.name", "worker.rollout.tensor_parallel_size",
)  # fmt: skip
"""Keys of Ray, FSDP, vLLM and the critic, which this engine does not use."""


@register
class LocalEngine(Engine):
    name = "local"
    summary = "one process, on a CPU or one GPU"
    capabilities = frozenset(Capability)
    accepts = ACCEPTS
    ignores = IGNORES
    auto_order = 100  # last: it runs anywhere

    def run(self, config: Config) -> int:
        self.check(config)
        from echorl_vl.engines.local.run import run

        return run(config)

    def issues(self, config: Config) -> list[ConfigIssue]:
        return [*super().issues(config), *_precision_issues(config)]

    def inputs(self, config: Config) -> list[str]:
        unread = "worker.critic.", *(("data.train_files",) if config.trainer.val_only else ())
        return [key for key in super().inputs(config) if not key.startswith(unread)]

    def size_issues(self, config: Config, parameters: int) -> Iterator[ConfigIssue]:
        import torch

        if torch.cuda.is_available() and config.trainer.device != "cpu":
            return
        frozen = bool(config.worker.actor.model.lora.rank)
        needed, memory = parameters * (4 if frozen else TRAINED), psutil.virtual_memory().total
        if needed > memory:
            what = "frozen weights" if frozen else "weights, gradients and AdamW"
            yield issue_at(
                config,
                "worker.actor.model.model_path",
                f"{parameters / 1e9:.2f} billion parameters, {needed / GIB:,.0f} GiB for {what}; expected at most this "
                f"machine's {memory / GIB:,.0f} GiB. Use a smaller model, or GPUs with {engines_on_many_gpus()}",
            )

    def check_demonstrations(self, *arguments: Any) -> None:
        from echorl_vl.engines.local.strategies import check_training_set

        check_training_set(*arguments)

    def memory_warnings(self, config: Config, machine: Machine, parameters: int, needed: int) -> Iterator[str]:
        if needed > (machine.gpus[0] if machine.gpus else machine.memory):
            yield f"the model does not fit; {engines_on_many_gpus()} shards it over several GPUs"


def _precision_issues(config: Config) -> Iterator[ConfigIssue]:
    """Dtypes in which training would fail silently."""
    fsdp = config.worker.actor.fsdp
    if config.trainer.val_only:
        return
    if not config.worker.actor.model.lora.rank and fsdp.torch_dtype not in (None, "fp32", "float32"):
        why = (
            "expected fp32 or null without LoRA: at the learning rates of RL an update is smaller than the rounding "
            "error of such weights, and most would never move. The forward pass uses fsdp.mp_param_dtype in any case"
        )
        yield issue_at(config, "worker.actor.fsdp.torch_dtype", why)
    if fsdp.mp_param_dtype in ("fp16", "float16"):
        why = "expected bf16 or fp32: float16 gradients vanish without loss scaling, which engine local does not have"
        yield issue_at(config, "worker.actor.fsdp.mp_param_dtype", why)
