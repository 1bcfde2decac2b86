"""The benchmarks. Every module of this folder that defines `BENCHMARKS` is registered."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import Benchmark


@cache
def benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks by name, those with images first."""
    found: list[Benchmark] = []
    for module in pkgutil.iter_modules(__path__):
        found.extend(getattr(importlib.import_module(f"{__name__}.{module.name}"), "BENCHMARKS", ()))
    by_name = {benchmark.name: benchmark for benchmark in sorted(found, key=lambda b: (not b.images, b.name))}
    if len(by_name) < len(found):
        raise ValueError("two benchmarks have the same name")
    return by_name


def get(name: str) -> Benchmark:
    """Return the benchmark with this name. Raises UserError with the nearest names if there is none."""
    known = benchmarks()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
        hint = f"did you mean {', '.join(near)}?" if near else f"expected one of {', '.join(known)}"
        raise UserError(f"--bench {name}: no such benchmark; {hint}")
    return known[name]
