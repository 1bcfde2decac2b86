"""Base algorithms. Each module of this folder registers one.

`algorithm.name` selects an algorithm, and `algorithm.options` sets the fields of its class; see `base` for the hooks.
The losses are pure functions of `echorl_vl.core`, which imports torch only when one is used, so that reading a
configuration does not import torch.
"""

from __future__ import annotations

import importlib
import pkgutil

from .base import ALGORITHMS, Algorithm, Capability, LossRows, make_algorithm, register

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["ALGORITHMS", "Algorithm", "Capability", "LossRows", "make_algorithm", "register"]
