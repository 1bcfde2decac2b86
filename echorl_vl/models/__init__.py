"""Model families, one small file each, found by being here; see `base` for what a family says of its models.

The rest is for any model: loading, weights, adapters.
"""

from __future__ import annotations

import importlib
import pkgutil

from echorl_vl.models.base import FAMILIES, ModelFamily, family_of, find_family, has_images, image_processing, register

_OTHERS = ("base", "images", "loading", "lora", "tokens", "weights")  # no families; some load much of transformers

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    if _module not in _OTHERS:
        importlib.import_module(f"{__name__}.{_module}")

__all__ = ["FAMILIES", "ModelFamily", "family_of", "find_family", "has_images", "image_processing", "register"]
