"""EasyR1 as the registry knows it."""

from __future__ import annotations

import os

from echorl_vl.algorithms import Capability
from echorl_vl.config import Config, ConfigIssue
from echorl_vl.engines.base import Engine, register
from echorl_vl.engines.easyr1 import hooks
from echorl_vl.engines.easyr1.checks import ACCEPTS, SMALLER, easyr1_issues
from echorl_vl.engines.hub import is_hub_id
from echorl_vl.engines.ray.base import RayEngine

_MODEL = "worker.actor.model.model_path"
_DEVICES = ("trainer.n_gpus_per_node", "trainer.nnodes", "worker.rollout.tensor_parallel_size")


@register
class EasyR1Engine(RayEngine):
    name = "easyr1"
    summary = "EasyR1: Ray, FSDP and vLLM, on one GPU or many"
    capabilities = frozenset({Capability.OFF_POLICY_ROWS})
    accepts = ACCEPTS
    auto_order = 10
    smaller = SMALLER

    def own_issues(self, config: Config) -> list[ConfigIssue]:
        return easyr1_issues(config)

    def is_installed(self) -> bool:
        return hooks.easyr1_installed()

    def suits(self, config: Config) -> tuple[bool, str]:
        if config.trainer.device == "cpu":
            return False, "trainer.device = cpu"
        if not self.is_installed():
            return False, f"EasyR1 is not installed: found {hooks.found_verl()}"
        import torch

        if not torch.cuda.is_available() and not os.environ.get("RAY_ADDRESS"):
            return False, "EasyR1 is installed, but torch finds no GPU"
        return True, "EasyR1 and a GPU are there"

    def fault_of_fallback(self, config: Config, taken: Engine) -> str | None:
        """A recipe for GPUs asks for devices and for a model of the hub. A model that is a folder here trains on."""
        asked = next((key for key in _DEVICES if config.origin(key) != "default"), None)
        path = config.worker.actor.model.model_path
        if config.trainer.device == "cpu" or asked is None or not path or not is_hub_id(path):
            return None
        return (
            f"{_MODEL} = {path} ({config.origin(_MODEL)}): this configuration is for EasyR1 and GPUs "
            f"({asked} is set, {config.origin(asked)}); here {self.suits(config)[1]}. Three ways out: run it on a "
            "machine with a GPU and EasyR1 (docs/easyr1.md says how to install it); give a model that is a folder here "
            f"({_MODEL}=FOLDER), or train configs/geo3k_tiny.yaml; or say engine={taken.name}, to load {path} from the "
            f"hub and train it with the {taken.name} engine."
        )
