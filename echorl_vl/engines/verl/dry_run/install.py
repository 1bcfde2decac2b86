"""Replace CUDA and vLLM for a CPU dry run, through verl's registries, and use gloo for process groups."""

from __future__ import annotations

from typing import Any

import torch

from echorl_vl.engines.ray.dry_run import use_gloo
from echorl_vl.engines.verl.dry_run import ROLLOUT

_installed = False


def install() -> None:
    """Make verl runnable in this process without a GPU. Further calls do nothing."""
    global _installed
    if _installed:
        return
    _installed = True
    use_gloo()  # verl asks for "cpu:gloo,cpu:gloo", which torch refuses
    torch.Tensor.pin_memory = _unpinned
    from verl.plugin.platform.platform_manager import PlatformRegistry

    from echorl_vl.engines.verl.dry_run.platform import Cpu

    PlatformRegistry.register("cpu")(Cpu)
    from verl.workers.rollout import base
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    server = "echorl_vl.engines.verl.dry_run.server"
    base._ROLLOUT_REGISTRY[ROLLOUT, "async"] = f"{server}.Adapter"
    RolloutReplicaRegistry.register(ROLLOUT, _replica)


def _replica() -> type:
    from echorl_vl.engines.verl.dry_run.server import Replica

    return Replica


def _unpinned(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Replaces `pin_memory`, which needs a GPU; verl pins the weights of a reference policy."""
    return tensor
