"""What a rehearsal puts in the place of CUDA and vLLM: verl's own registries, and gloo for its process groups."""

from __future__ import annotations

import functools
from typing import Any

import torch.distributed as dist

from echorl_vl.engines.verl.rehearsal import ROLLOUT

_installed = False


def install() -> None:
    """Makes verl runnable in this process without a GPU. Once is enough; more does nothing."""
    global _installed
    if _installed:
        return
    _installed = True
    _over_gloo()
    from verl.plugin.platform.platform_manager import PlatformRegistry

    from echorl_vl.engines.verl.rehearsal.platform import Cpu

    PlatformRegistry.register("cpu")(Cpu)
    from verl.workers.rollout import base
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    server = "echorl_vl.engines.verl.rehearsal.server"
    base._ROLLOUT_REGISTRY[ROLLOUT, "async"] = f"{server}.Adapter"
    RolloutReplicaRegistry.register(ROLLOUT, _replica)


def _replica() -> type:
    from echorl_vl.engines.verl.rehearsal.server import Replica

    return Replica


def _over_gloo() -> None:
    """verl asks for "cpu:gloo,cpu:gloo", which torch refuses."""
    start = dist.init_process_group

    @functools.wraps(start)
    def over_gloo(*arguments: Any, **options: Any) -> None:
        start(*arguments, **options | {"backend": "gloo"})

    dist.init_process_group = over_gloo
