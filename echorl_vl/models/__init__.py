"""Model families and model loading.

Each module that is not in `_OTHERS` registers a model family; see `base` for the interface.
"""

from __future__ import annotations

import importlib
import pkgutil

from echorl_vl.models.base import FAMILIES, ModelFamily, family_of, find_family, has_images, image_processing, register

_OTHERS = ("base", "images", "loading", "lora", "tokens", "weights")  # not families; some import most of transformers

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    if _module not in _OTHERS:
        importlib.import_module(f"{__name__}.{_module}")

__all__ = ["FAMILIES", "ModelFamily", "family_of", "find_family", "has_images", "image_processing", "register"]
