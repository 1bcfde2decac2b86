"""Changes to a configuration before a run on Ray: smaller micro-batches, and no CUDA in a CPU dry run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from echorl_vl.config import Config
from echorl_vl.config.dump import get_value

DRY_RUN = "ECHORL_VL_DRY_RUN"
"""Environment variable that names the engine in every process of a CPU dry run."""

# Keys that need CUDA or flash-attn -> their value on a CPU.
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


def dry_run_environment(engine: str) -> dict[str, str]:
    """Environment variables of every process of a CPU dry run with `engine`."""
    return {DRY_RUN: engine, "RAY_AUTH_MODE": "disabled", "GLOO_SOCKET_IFNAME": "lo"}


def for_dry_run(config: Config) -> tuple[Config, list[str]]:
    """A copy of `config` without settings that need CUDA, and a line about each key that changed."""
    return _changed(config, WITHOUT_CUDA, "")


def capped(config: Config) -> tuple[Config, list[str]]:
    """Limit micro-batches to the rollouts of one rank, since EasyR1 and verl refuse larger ones.

    Results don't change: a capped micro-batch holds all rollouts of its rank.

    Returns:
        A copy of `config`, and a line about each key that changed.
    """
    values = {}
    n, prompts = config.worker.rollout.n, config.data.rollout_batch_size
    for role in config.algorithm.trained_roles:
        ranks, batch = data_ranks(config, role), get_value(config, f"worker.{role}.global_batch_size")
        for kind, rows in (("update", batch * n // ranks), ("experience", prompts * n // ranks)):
            key = f"worker.{role}.micro_batch_size_per_device_for_{kind}"
            if get_value(config, key) > rows > 0:
                values[key] = rows
    return _changed(config, values, ": one rank has no more rollouts in a batch")


def _changed(config: Config, values: Mapping[str, Any], why: str) -> tuple[Config, list[str]]:
    """A copy of `config` with these values, and a line about each key whose value changed."""
    changed, lines = copy.deepcopy(config), []
    for key, value in values.items():
        if (before := get_value(config, key)) != value:
            set_value(changed, key, value)
            lines.append(f"{key} = {value} in place of {before}{why}")
    return changed, lines


def set_value(config: Config, key: str, value: Any) -> None:
    """Set a dotted key in place. Keys of `echo` can't be set: it is frozen."""
    section, _, name = key.rpartition(".")
    setattr(get_value(config, section) if section else config, name, value)


def world_size(config: Config) -> int:
    """Number of GPUs, which is the number of worker processes."""
    return config.trainer.nnodes * config.trainer.n_gpus_per_node


def data_ranks(config: Config, role: str) -> int:
    """Number of data-parallel ranks: `ulysses_size` GPUs share the same rows of a batch."""
    return max(1, world_size(config) // get_value(config, f"worker.{role}").ulysses_size)
