"""Lines to read before the first step, about a right configuration that may mean something else to its user."""

from __future__ import annotations

from .dump import get_value
from .issues import at, show
from .names import DERIVED
from .presets import overridden
from .schema import Config


def start_notes(config: Config) -> list[str]:
    """Lines to print at start."""
    return [*overridden(config), *_echo(config), *_derived(config)]


def _echo(config: Config) -> list[str]:
    """A file of EasyR1's has no `echo:` block, and trains EchoRL here."""
    origins = config.source.origins if config.source else {}
    if not config.echo.coef or any(key == "echo" or key.startswith("echo.") for key in origins):
        return []
    base = "GRPO" if config.algorithm.adv_estimator == "grpo" else config.algorithm.adv_estimator
    return [f"echo term on with coef {config.echo.coef:g}: set echo.coef=0 for plain {base}"]


def _derived(config: Config) -> list[str]:
    """Keys that EasyR1 writes over, where what was given is something else."""
    given = config.source.derived if config.source else {}
    return [
        f"{key} = {show(value)} ({origin}) has no effect, as in EasyR1: {at(config, DERIVED[key])} stands for it"
        for key, (value, origin) in given.items()
        if value != get_value(config, DERIVED[key])
    ]
