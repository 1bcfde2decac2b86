"""Replace CUDA, vLLM and flash-attn for a CPU dry run, before EasyR1 is imported."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import psutil
import torch

from echorl_vl.engines.easyr1.dry_run import ENVIRONMENT, vllm_cpu
from echorl_vl.engines.easyr1.dry_run.stand_ins import MODULES
from echorl_vl.engines.ray.dry_run import use_gloo

CPU = torch.device("cpu")
_installed = False


def install() -> None:
    """Make EasyR1 importable and runnable in this process without a GPU. Further calls do nothing."""
    global _installed
    if _installed:
        return
    _installed = True
    os.environ |= ENVIRONMENT
    _replace_cuda()
    use_gloo()
    changes = dict(AFTER_IMPORT)
    stand_ins = MODULES
    if _has_vllm_cpu():
        stand_ins = {name: names for name, names in MODULES.items() if name.split(".")[0] != "vllm"}
        changes |= {"vllm.distributed.parallel_state": vllm_cpu.parallel_state}
        changes |= {"verl.workers.rollout.vllm_rollout_spmd": vllm_cpu.rollout}
        changes |= {"vllm.lora": lambda _: _put("vllm.lora.models", vllm_cpu.lora_models())}
    for name, names in stand_ins.items():  # also replaces the vllm of a GPU environment
        _put(name, names)
    for name in set(changes) & set(sys.modules):
        changes.pop(name)(sys.modules[name])
    sys.meta_path.insert(0, _AfterImport(changes))


def _put(name: str, names: dict[str, Any]) -> None:
    """Make `import name` import a package with these names."""
    module = ModuleType(name)
    module.__spec__, module.__path__ = importlib.machinery.ModuleSpec(name, None, is_package=True), []
    module.__dict__.update(names)
    sys.modules[name] = module


def _has_vllm_cpu() -> bool:
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _replace_cuda() -> None:
    memory = psutil.virtual_memory()
    state = torch.get_rng_state
    answers: dict[str, Any] = {
        "current_device": CPU,
        "get_device_name": "CPU",
        "mem_get_info": (memory.available, memory.total),
        "max_memory_allocated": 0,
        "max_memory_reserved": 0,
        "empty_cache": None,
        "manual_seed": None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, functools.partial(_answer, answer))
    torch.cuda.get_rng_state = lambda *_, **__: state()
    torch.cuda.set_rng_state = lambda new, *_, **__: None  # sampling has its own generators


def _answer(value: Any, *_: Any, **__: Any) -> Any:
    return value


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls functions with modules of EasyR1 right after their import."""

    def __init__(self, functions: dict[str, Callable[[ModuleType], None]]) -> None:
        self.functions = dict(functions)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        function = self.functions.pop(name, None)  # removed, so that the search below does not find it again
        if function is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            function(module)

        spec.loader.exec_module = execute_and_change
        return spec


def _workers(module: ModuleType) -> None:
    """Device meshes and models on the CPU, with an attention that does not need flash-attn."""
    if int(importlib.metadata.version("transformers").partition(".")[0]) >= 5:
        module.apply_ulysses_patch = lambda *_: None  # written for 4.x; transformers' own forward works too
    mesh = module.init_device_mesh
    module.init_device_mesh = lambda device, **options: mesh("cpu", **options)
    for name in ("AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModelForTokenClassification"):
        setattr(module, name, _on_cpu(getattr(module, name)))


def _on_cpu(auto_class: type) -> type:
    class OnCpu(auto_class):
        @classmethod
        def from_pretrained(cls, *arguments: Any, **options: Any) -> Any:
            options |= {"attn_implementation": "sdpa", "device_map": "cpu"}
            return auto_class.from_pretrained(*arguments, **options)

    return OnCpu


def _dataloader(module: ModuleType) -> None:
    """No loader processes: eight for each of two loaders are too many for a small machine."""
    loader = module.StatefulDataLoader
    module.StatefulDataLoader = lambda **options: loader(**options | {"num_workers": 0})


def _dynamic_batches(module: ModuleType) -> None:
    """Make `torch.tensor(..., device="cuda")` create a CPU tensor."""

    class OnCpu:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def tensor(self, *arguments: Any, **options: Any) -> torch.Tensor:
            return torch.tensor(*arguments, **options | {"device": "cpu"})

    module.torch = OnCpu()


def _protocol(module: ModuleType) -> None:
    """Skip gathering over a single tensor-parallel rank."""
    gather = module.all_gather_data_proto
    module.all_gather_data_proto = lambda data, size, group: None if size == 1 else gather(data, size, group)


def _transformers(module: ModuleType) -> None:
    """Restore a name that transformers 5 has moved."""
    if not hasattr(module, "no_init_weights"):
        module.no_init_weights = importlib.import_module("transformers.initialization").no_init_weights


def _vllm_utils(module: ModuleType) -> None:
    """Answer its question for the version of vLLM."""
    module.version = lambda name: "0"


AFTER_IMPORT: dict[str, Callable[[ModuleType], None]] = {
    "transformers.modeling_utils": _transformers,
    "verl.protocol": _protocol,
    "verl.workers.fsdp_workers": _workers,
    "verl.trainer.data_loader": _dataloader,
    "verl.utils.vllm_utils": _vllm_utils,
    "verl.utils.seqlen_balancing": _dynamic_batches,
}
