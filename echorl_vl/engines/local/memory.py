"""Whether a model fits the machine, from its shapes alone, before anything of it is loaded."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from echorl_vl.config import Config
from echorl_vl.engines.resources import GIB, empty_model
from echorl_vl.errors import UserError
from echorl_vl.models import ModelFamily, find_family
from echorl_vl.models.loading import to_dtype

TRAINED = 16
"""Bytes of a parameter that is trained: float32 weight and gradient, and AdamW's two moments."""

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def check_memory(config: Config, device: str) -> None:
    """A lower bound of what weights, gradients and optimizer take against what is free; activations are not counted.

    Args:
        device: "auto", "cpu" or "cuda".

    Raises:
        UserError: it is more than the GPU, or the machine, has free; says how much, and what helps.
    """
    on_gpu = device != "cpu" and torch.cuda.is_available()
    free = torch.cuda.mem_get_info()[0] if on_gpu else free_memory()
    model = config.worker.actor.model
    if _files_are_small(model.model_path, free):
        return
    try:
        memory = model_memory(config, on_gpu)
    except UserError:  # no such model: loading says it better
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
        f"activation, and {place} has {free / GIB:.1f} GiB free. What helps: {', '.join(helps)}; several GPUs take "
        "engine=easyr1 (docs/easyr1.md)"
    )


@dataclass(frozen=True)
class ModelMemory:
    """parameters: their number. needed: bytes of weights, gradients and optimizer. what: how they come about."""

    parameters: int
    needed: int
    what: str


def model_memory(config: Config, on_gpu: bool) -> ModelMemory | None:
    """What a run keeps of its model on one device, without activations; None if the model's shapes can't be told.

    Raises:
        UserError: there is no such model.
    """
    model, actor = config.worker.actor.model, config.worker.actor
    empty = empty_model(model)
    if empty is None:
        return None
    tower = (find_family(empty.config) or ModelFamily).tower
    counts = {True: 0, False: 0}
    for name, parameter in empty.named_parameters():
        counts[model.freeze_vision_tower and tower in f".{name}"] += parameter.numel()
    total, frozen = counts[True] + counts[False], counts[True]
    still = (to_dtype(actor.fsdp.torch_dtype) or (torch.bfloat16 if model.lora.rank else torch.float32)).itemsize
    kept = still if on_gpu else 4
    if config.trainer.val_only:
        return ModelMemory(total, total * kept, f"its weights take {kept} bytes each")
    if model.lora.rank:
        return ModelMemory(total, total * kept, f"under LoRA its frozen weights take {kept} bytes each")
    of_reference = 0 if config.algorithm.disable_kl or not config.algorithm.kl_coef else total * kept
    what = f"weights, gradients and AdamW take {TRAINED} bytes of each"
    what += " that is trained, a frozen tower less" if frozen else ""
    what += f", the reference of the KL {kept} more" if of_reference else ""
    return ModelMemory(total, (total - frozen) * TRAINED + frozen * kept + of_reference, what)


def free_memory() -> int:
    """Bytes of memory that this process can still have, by the machine and by its container."""
    free = psutil.virtual_memory().available
    for limit, used in _CGROUPS:
        with suppress(OSError, ValueError):  # no such container, or "max"
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(free, 0)


def _files_are_small(path: str | None, free: int) -> bool:
    """Whether the weights in a folder fit in any case; spares a tiny model the building of an empty one."""
    sizes = [file.stat().st_size for file in Path(path or "").glob("*.safetensors")] if path else []
    return bool(sizes) and sum(sizes) * 2 * TRAINED < free
