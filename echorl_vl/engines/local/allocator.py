"""Keeps freed memory in the process instead of returning it to the kernel."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # names of malloc.h


def keep_freed_memory() -> bool:
    """Makes glibc's malloc keep freed memory.

    A training step on a CPU allocates and frees buffers of megabytes thousands of times. By default glibc maps and
    unmaps each of them, and the kernel zeroes every page again: a third of the step with 448 x 448 images. This call
    equals MALLOC_TRIM_THRESHOLD_=-1 (never trim) and MALLOC_MMAP_MAX_=0 (never mmap) in the environment, which only
    work if they are set before the process starts. The cost: the peak memory stays reserved until the process exits.

    Returns:
        Whether it worked: only on Linux with glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # The largest int as threshold: never trim.
    return bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)) and bool(mallopt(_M_MMAP_MAX, 0))
