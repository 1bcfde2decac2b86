"""What the local engine does not do, though another engine may."""

from __future__ import annotations

from collections.abc import Iterator

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.issues import issue_at

ESTIMATORS = ("grpo", "grpo_passk", "rloo", "reinforce_rej", "reinforce_plus_plus")
KL_PENALTIES = ("kl", "abs", "mse", "low_var_kl")
LOGGERS = ("console", "file", "tensorboard", "wandb", "swanlab")

ACCEPTS = {
    "algorithm.adv_estimator": (
        ESTIMATORS,
        "gae needs a critic and remax needs a greedy baseline rollout of each prompt, which the local engine has not; "
        f"engine local supports {', '.join(ESTIMATORS)}",
    ),
    "algorithm.kl_penalty": (KL_PENALTIES, f"engine local supports {', '.join(KL_PENALTIES)}"),
    "worker.actor.optim.strategy": (("adamw",), "engine local supports adamw"),
    "trainer.critic_warmup": ((0,), "the local engine has no critic; wanted 0"),
    "trainer.logger": (LOGGERS, f"engine local supports {', '.join(LOGGERS)}"),
}
"""Key -> the values that can be had, and what an error says."""

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
"""Keys of Ray, FSDP, vLLM and the critic, which this engine has not."""


def precision_issues(config: Config) -> Iterator[ConfigIssue]:
    """Dtypes in which training would go wrong without an error."""
    fsdp = config.worker.actor.fsdp
    if config.trainer.val_only:
        return
    if not config.worker.actor.model.lora.rank and fsdp.torch_dtype not in (None, "fp32", "float32"):
        why = (
            "expected fp32 or null without LoRA: at the learning rates of RL a step is less than half the last digit "
            "of such weights, and most would never move. The forward pass is in fsdp.mp_param_dtype all the same"
        )
        yield issue_at(config, "worker.actor.fsdp.torch_dtype", why)
    if fsdp.mp_param_dtype in ("fp16", "float16"):
        why = "expected bf16 or fp32: gradients vanish in float16 without loss scaling, which engine local has not"
        yield issue_at(config, "worker.actor.fsdp.mp_param_dtype", why)
