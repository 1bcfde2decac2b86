"""The CPU as one of verl's platforms."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from verl.plugin.platform.platform_base import PlatformBase

CPU = torch.device("cpu")


def _answer(value: Any = None) -> Any:
    return lambda *_, **__: value


_DEVICE = SimpleNamespace(
    current_device=_answer(CPU),
    device_count=_answer(1),
    empty_cache=_answer(),
    get_device_name=_answer("CPU"),
    get_rng_state=_answer(torch.empty(0, dtype=torch.uint8)),
    is_available=_answer(True),
    ipc_collect=_answer(),
    manual_seed=_answer(),
    manual_seed_all=_answer(),
    max_memory_allocated=_answer(0),
    max_memory_reserved=_answer(0),
    mem_get_info=_answer((0, 0)),
    memory_allocated=_answer(0),
    memory_reserved=_answer(0),
    reset_peak_memory_stats=_answer(),
    set_device=_answer(),
    set_rng_state=_answer(),
    synchronize=_answer(),
)
"""What verl asks of `torch.cuda`."""


class Cpu(PlatformBase):
    """A device without memory of its own. Ray counts made-up GPUs."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _DEVICE

    def is_available(self) -> bool:
        return True

    def current_device(self) -> torch.device:
        return CPU  # an index would be taken for that of a GPU

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    def nvtx_range(self, msg: str) -> Any:
        return nullcontext()

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> None:
        return None
