"""Keeps freed memory in the process instead of handing it back to the kernel."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names of malloc.h


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to keep what is freed; returns whether it did (Linux with glibc only).

    A training step on a CPU frees and takes back buffers of megabytes thousands of times. glibc takes each from the
    kernel by mmap and returns it at once, and every page of it is zeroed and faulted in again: a third of the step at
    448 x 448 pictures. The same as MALLOC_TRIM_THRESHOLD_=-1 (never) and MALLOC_MMAP_MAX_=0 (never mmap) in the
    environment, which only work if set before the process starts. The price: the peak stays reserved until exit.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # the largest int as threshold; -1 would be read as "trim whenever more than SIZE_MAX is free", equal in effect
    return bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(_M_MMAP_MAX, 0))
