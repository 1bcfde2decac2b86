"""Chooses the engine of a run, and checks that it can start, before heavy packages are imported."""

from __future__ import annotations

from echorl_vl.config import ENGINES, Config
from echorl_vl.engines.base import Engine
from echorl_vl.engines.hub import check_hub
from echorl_vl.errors import UserError


def auto_engines() -> list[Engine]:
    """The engines of `engine: auto`, the preferred one first."""
    asked = [engine for engine in ENGINES.values() if engine.auto_order is not None]
    return sorted(asked, key=lambda engine: engine.auto_order)


def choose_engine(config: Config) -> tuple[Engine, str]:
    """Chooses the engine of a run. `engine: auto` takes the first of `auto_engines` that suits the configuration.

    Returns:
        The engine, and the reason in words.
    """
    if config.engine != "auto":
        return ENGINES[config.engine], "as configured"
    asked = [(engine, *engine.suits(config)) for engine in auto_engines()]
    engine = next(engine for engine, suits, _ in asked if suits)
    return engine, f"engine = auto, and {asked[0][-1]}"


def check_start(config: Config, engine: Engine) -> None:
    """Checks that a run can start with the engine of `choose_engine`.

    Raises:
        UserError: the configuration is for another machine, or a model or data set of the hub is not available.
    """
    if config.engine == "auto":
        for preferred in auto_engines():
            if preferred is engine:
                break
            if fault := preferred.fault_of_fallback(config, engine):
                raise UserError(fault)
    if engine.is_installed():  # otherwise `run` raises the error, with all other issues
        check_hub(config, engine)
