"""Engines run the training. Each is a folder here with an `engine.py`; importing this package registers all of them."""

from __future__ import annotations

import importlib
from pathlib import Path

from .base import Engine, register

for _file in sorted(Path(__file__).parent.glob("*/engine.py")):
    importlib.import_module(f"{__name__}.{_file.parent.name}.engine")

__all__ = ["Engine", "register"]
