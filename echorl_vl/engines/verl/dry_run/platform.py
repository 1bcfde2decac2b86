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


_ANSWERS = {
    "current_device": CPU,  # an index would mean a GPU
    "device_count": 1,
    "get_device_name": "CPU",
    "get_rng_state": torch.empty(0, dtype=torch.uint8),
    "is_available": True,
    "mem_get_info": (0, 0),
    **dict.fromkeys(("max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved"), 0),
}
_NOTHING = ("empty_cache", "ipc_collect", "manual_seed", "manual_seed_all", "reset_peak_memory_stats", "set_device")
_DEVICE = SimpleNamespace(
    **{name: _answer(value) for name, value in _ANSWERS.items()},
    **{name: _answer() for name in (*_NOTHING, "set_rng_state", "synchronize")},
)
"""The functions of `torch.cuda` that verl calls."""


class Cpu(PlatformBase):
    """A device without its own memory. Ray counts fake GPUs."""

    device_name = vendor_name = "cpu"
    device_module = _DEVICE
    is_available, current_device, device_count = _DEVICE.is_available, _DEVICE.current_device, _DEVICE.device_count
    set_device = synchronize = set_allocator_settings = empty_cache = profiler_start = profiler_stop = _answer()
    get_device_capability = _answer((None, None))
    communication_backend_name = _answer("gloo")
    visible_devices_envvar = _answer("CUDA_VISIBLE_DEVICES")
    ray_resource_name = _answer("GPU")
    is_ipc_supported = _answer(False)
    cudart = _answer()

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def nvtx_range(self, msg: str) -> Any:
        return nullcontext()

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]
