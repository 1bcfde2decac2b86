"""Engines run a training. Each is a folder here; `choose_engine` says which one a configuration gets, and why."""

from __future__ import annotations

from echorl_vl.config import Config
from echorl_vl.errors import UserError


def choose_engine(config: Config) -> tuple[str, str]:
    """(name of the engine, the reason in words).

    Raises UserError if the configuration asks for an engine that this version has not.
    """
    if config.engine == "easyr1":
        raise UserError("engine = easyr1: this version has the embedded engine only; wanted engine = local or auto")
    if config.engine == "local":
        return "local", "the configuration asks for it"
    return "local", "engine = auto, and the embedded engine is the only one in this version"
