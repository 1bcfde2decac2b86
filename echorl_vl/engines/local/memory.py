"""Checks from a model's shapes that it fits into memory, before it is loaded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import torch

from echorl_vl.config import Config
from echorl_vl.engines.base import engines_on_many_gpus
from echorl_vl.engines.resources import GIB, TRAINED, model_memory
from echorl_vl.errors import UserError

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def check_memory(config: Config, device: str) -> None:
    """Compares the memory of weights, gradients and optimizer with the free memory. Activations are not counted.

    Args:
        config: the run's configuration.
        device: "auto", "cpu" or "cuda".

    Raises:
        UserError: the GPU, or the machine, has too little free memory. The message says how much, and what helps.
    """
    on_gpu = device != "cpu" and torch.cuda.is_available()
    free = torch.cuda.mem_get_info()[0] if on_gpu else free_memory()
    model = config.worker.actor.model
    if _files_are_small(model.model_path, free):
        return
    try:
        memory = model_memory(config, on_gpu)
    except UserError:  # no such model: loading it gives a better error
        return
    if memory is None or memory.needed <= free:
        return
    place = "the GPU" if on_gpu else "this machine"
    helps = ["a smaller model"]
    if not model.lora.rank and not config.trainer.val_only:
        lora = memory.parameters * (2 if on_gpu else 4) / GIB
        helps.insert(0, f"LoRA (worker.actor.model.lora.rank=64: about {lora:.0f} GiB)")
    if not on_gpu:
        helps.insert(0, "a GPU with that much memory")
    raise UserError(
        f"worker.actor.model.model_path = {model.model_path} ({config.origin('worker.actor.model.model_path')}) has "
        f"{memory.parameters / 1e9:.2f} billion parameters: {memory.what}, {memory.needed / GIB:.1f} GiB before any "
        f"activation, and {place} has {free / GIB:.1f} GiB free. Use one of these: {', '.join(helps)}, or several GPUs "
        f"with {engines_on_many_gpus()}"
    )


def free_memory() -> int:
    """Bytes that this process can still allocate, within the limits of the machine and the container."""
    free = psutil.virtual_memory().available
    for limit, used in _CGROUPS:
        with suppress(OSError, ValueError):  # no container, or no limit ("max")
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(free, 0)


def _files_are_small(path: str | None, free: int) -> bool:
    """Whether the weights in a folder surely fit, so that a tiny model needs no further check."""
    sizes = [file.stat().st_size for file in Path(path or "").glob("*.safetensors")] if path else []
    return bool(sizes) and sum(sizes) * 2 * TRAINED < free
