"""Functions that workers of the tests' pools import by name, like good and bad reward functions."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Any


def behave(item: Any) -> Any:
    """Double the item, or misbehave as it says."""
    if item == "hang":
        while True:
            pass
    if item == "hang in C":  # holds the interpreter lock: no Python signal handler or thread can end it
        return 9 ** (9**9)
    if item == "sleep":
        time.sleep(60)
    if item == "segfault":
        ctypes.string_at(0)
    if item == "exit":
        os._exit(3)
    if item == "memory":
        return len(bytearray(1 << 40))
    if item == "grow":
        rubbish = []
        while True:
            rubbish.append(bytearray(1 << 26))
    if item == "recurse":
        return behave("recurse") + 1
    if item == "raise":
        raise KeyError("no such thing")
    if item == "print":
        print("x" * 100_000)
        os.write(1, b"straight to the descriptor\n")
    if item == "stdin":
        return sys.stdin.read()
    if item == "pid":
        return os.getpid()
    if item == "lambda":
        return lambda: None
    return item * 2


def environment(item: str) -> Any:
    return {"modules": [name for name in ("torch", "sympy", "pytest") if name in sys.modules], "omp": os.environ[item]}


class FailsToLoad:
    def warm_up(self) -> None:
        raise ImportError("no module named nothing")

    def __call__(self, item: Any) -> Any:
        return item
