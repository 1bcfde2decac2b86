"""Which engine a configuration gets, and what keeps a run from starting, before anything heavy is imported."""

from __future__ import annotations

from echorl_vl.config import ENGINES, Config
from echorl_vl.engines.base import Engine
from echorl_vl.engines.hub import check_hub
from echorl_vl.errors import UserError


def auto_engines() -> list[Engine]:
    """The engines that `engine: auto` asks, the preferred one first."""
    asked = [engine for engine in ENGINES.values() if engine.auto_order is not None]
    return sorted(asked, key=lambda engine: engine.auto_order)


def choose_engine(config: Config) -> tuple[Engine, str]:
    """(the engine, the reason in words). `engine: auto` takes the first that suits, in the order of `auto_engines`."""
    if config.engine != "auto":
        return ENGINES[config.engine], "the configuration asks for it"
    asked = [(engine, *engine.suits(config)) for engine in auto_engines()]
    engine = next(engine for engine, suits, _ in asked if suits)
    return engine, f"engine = auto, and {asked[0][-1]}"


def check_start(config: Config, engine: Engine) -> None:
    """Checks the engine that `choose_engine` named.

    Raises:
        UserError: the configuration is for another machine than this one, or a model or data set of the hub can't be
            had.
    """
    if config.engine == "auto":
        for preferred in auto_engines():
            if preferred is engine:
                break
            if fault := preferred.fault_of_fallback(config, engine):
                raise UserError(fault)
    if engine.is_installed():  # else `run` says so at once, beside what else is wrong
        check_hub(config, engine)
