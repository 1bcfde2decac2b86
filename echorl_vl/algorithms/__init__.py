"""Base algorithms by name: one small file each, found by being here.

`algorithm.name` picks one, `algorithm.options` are the fields of its class. See `base` for what an algorithm may
change. The objectives are pure functions in `echorl_vl.core`, which imports torch when one is called and not before: a
configuration is read without it.
"""

from __future__ import annotations

import importlib
import pkgutil

from .base import ALGORITHMS, Algorithm, Capability, LossRows, make_algorithm, register

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["ALGORITHMS", "Algorithm", "Capability", "LossRows", "make_algorithm", "register"]
