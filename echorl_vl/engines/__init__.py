"""Engines run a training. Each is a folder here; `choose_engine` says which one a configuration gets, and why."""

from __future__ import annotations

import os
from collections.abc import Callable

from echorl_vl.config import Config


def choose_engine(config: Config) -> tuple[str, str]:
    """(name of the engine, the reason in words). `engine: auto` takes EasyR1 where it and a GPU are there."""
    if config.engine != "auto":
        return config.engine, "the configuration asks for it"
    from echorl_vl.engines.easyr1.hooks import easyr1_installed, found_verl

    if config.trainer.device == "cpu":
        return "local", "engine = auto, and trainer.device = cpu"
    if not easyr1_installed():
        return "local", f"engine = auto, and EasyR1 is not installed: found {found_verl()}"
    import torch

    if not torch.cuda.is_available() and not os.environ.get("RAY_ADDRESS"):
        return "local", "engine = auto, and EasyR1 is installed, but torch finds no GPU"
    return "easyr1", "engine = auto, and EasyR1 and a GPU are there"


def load_engine(name: str) -> Callable[[Config], int]:
    """The `run` of an engine: trains as a configuration says and returns the exit status."""
    if name == "easyr1":
        from echorl_vl.engines.easyr1.run import run
    elif name == "verl":
        from echorl_vl.engines.verl.run import run
    else:
        from echorl_vl.engines.local.run import run
    return run
