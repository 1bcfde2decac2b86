"""What the engines on Ray change in a configuration: micro-batches to a rank's share, and what needs CUDA on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from echorl_vl.config import Config
from echorl_vl.config.dump import get_value, set_value

DRY_RUN = "ECHORL_VL_DRY_RUN"
"""Names the engine in the environment of every process of a CPU dry run."""

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


def dry_run_environment(engine: str) -> dict[str, str]:
    """Variables of every process of a CPU dry run with `engine`."""
    return {DRY_RUN: engine, "RAY_AUTH_MODE": "disabled", "GLOO_SOCKET_IFNAME": "lo"}


def for_dry_run(config: Config) -> tuple[Config, list[str]]:
    """The configuration of a CPU dry run, without what needs CUDA, and a line about each key that changed."""
    return _changed(config, WITHOUT_CUDA, "")


def capped(config: Config) -> tuple[Config, list[str]]:
    """The configuration with micro-batches of at most the rollouts of one rank, and a line about each that changed.

    Nothing is computed otherwise: such a micro-batch is the whole share of the rank. EasyR1 and verl both refuse it.
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
    """A copy of `config` with other values, and a line about each that is another one."""
    changed, lines = copy.deepcopy(config), []
    changed.source = config.source
    for key, value in values.items():
        if (before := get_value(config, key)) != value:
            set_value(changed, key, value)
            lines.append(f"{key} = {value} in place of {before}{why}")
    return changed, lines


def world_size(config: Config) -> int:
    """GPUs of the whole training: one worker process each."""
    return config.trainer.nnodes * config.trainer.n_gpus_per_node


def data_ranks(config: Config, role: str) -> int:
    """Ranks over which the rows of a batch are spread: `ulysses_size` GPUs share the same ones."""
    return max(1, world_size(config) // get_value(config, f"worker.{role}").ulysses_size)
