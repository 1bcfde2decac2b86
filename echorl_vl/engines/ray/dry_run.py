"""Process groups over gloo, for CPU dry runs on a machine without a GPU."""

from __future__ import annotations

import functools
from typing import Any

import torch.distributed as dist


def use_gloo() -> None:
    """From now on every process group of this process is over gloo, whatever backend a host framework asks for."""
    start = dist.init_process_group

    @functools.wraps(start)
    def over_gloo(*arguments: Any, **options: Any) -> None:
        start(*arguments, **options | {"backend": "gloo"})

    dist.init_process_group = over_gloo
