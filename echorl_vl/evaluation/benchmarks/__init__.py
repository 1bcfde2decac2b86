"""Benchmarks, one file each: every module of this folder that has a `BENCHMARKS`, found by being here."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from echorl_vl.config.names import nearest_names
from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import Benchmark


@cache
def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks, by name, those with pictures first."""
    found: list[Benchmark] = []
    for module in pkgutil.iter_modules(__path__):
        found.extend(getattr(importlib.import_module(f"{__name__}.{module.name}"), "BENCHMARKS", ()))
    by_name = {benchmark.name: benchmark for benchmark in sorted(found, key=lambda b: (not b.pictures, b.name))}
    if len(by_name) < len(found):
        raise ValueError("two benchmarks have the same name")
    return by_name


def get(name: str) -> Benchmark:
    """The benchmark of that name. Raises UserError with the nearest names where there is none."""
    known = benchmarks()
    if name not in known:
        near = nearest_names(name, known)
        hint = f"did you mean {', '.join(near)}?" if near else f"known are {', '.join(known)}"
        raise UserError(f"--bench {name}: no such benchmark; {hint}")
    return known[name]
