"""What `trainer.device: cpu` changes in a configuration for the engines on Ray: a run of them without a GPU."""

from __future__ import annotations

import copy
from typing import Any

from .dump import get_value, set_value
from .schema import Config

# What needs CUDA (or flash-attn), and its value on a CPU.
WITHOUT_CUDA: dict[str, Any] = {
    "worker.actor.use_torch_compile": False,
    "worker.actor.fsdp.enable_rank0_init": False,
    "worker.actor.fsdp.mp_param_dtype": "fp32",
    "worker.actor.offload.offload_params": False,
    "worker.actor.offload.offload_optimizer": False,
    "worker.actor.ulysses_size": 1,
    "worker.ref.fsdp.enable_rank0_init": False,
    "worker.ref.fsdp.enable_cpu_offload": False,
    "worker.ref.fsdp.torch_dtype": "fp32",
    "worker.ref.fsdp.mp_param_dtype": "fp32",
    "worker.ref.offload.offload_params": False,
    "worker.critic.fsdp.enable_rank0_init": False,
    "worker.critic.fsdp.mp_param_dtype": "fp32",
    "worker.critic.offload.offload_params": False,
    "worker.critic.offload.offload_optimizer": False,
    "worker.critic.ulysses_size": 1,
    "worker.rollout.tensor_parallel_size": 1,
    "worker.rollout.dtype": "fp32",
}


def for_dry_run(config: Config) -> tuple[Config, list[str]]:
    """The configuration without what needs CUDA, and a line about each key that changed."""
    changed = copy.deepcopy(config)
    changed.source = config.source
    lines = []
    for key, value in WITHOUT_CUDA.items():
        before = get_value(config, key)
        if before != value:
            set_value(changed, key, value)
            lines.append(f"{key} = {value} in place of {before}")
    return changed, lines
