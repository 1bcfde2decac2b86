"""Notes on a valid configuration that are printed at the start of a run, and whether the run can be extended."""

from __future__ import annotations

from echorl_vl.algorithms import ALGORITHMS, Capability
from echorl_vl.config import AlgorithmConfig, Config
from echorl_vl.config.dump import get_value
from echorl_vl.config.issues import at
from echorl_vl.config.names import key_names
from echorl_vl.errors import show

NAME = "algorithm.name"


def start_notes(config: Config) -> list[str]:
    """The notes on a configuration."""
    return [*overridden(config), *_echo(config), *_derived(config)]


def _echo(config: Config) -> list[str]:
    """A note if the echo term is on by default: a configuration of EasyR1 has no section `echo`."""
    if not config.echo.coef or any(key == "echo" or key.startswith("echo.") for key in config.source.origins):
        return []
    default = config.algorithm.name == AlgorithmConfig().name
    name = config.algorithm.adv_estimator if default else config.algorithm.name
    base = "GRPO" if name == "grpo" else name
    return [f"echo term on with coef {config.echo.coef:g}: set echo.coef=0 for plain {base}"]


def _derived(config: Config) -> list[str]:
    """A note for each given value that EasyR1 overwrites."""
    source = key_names("derived")
    return [
        f"{key} = {show(value)} ({origin}) has no effect, as in EasyR1: {at(config, source[key])} stands for it"
        for key, (value, origin) in config.source.derived.items()
        if value != get_value(config, source[key])
    ]


def overridden(config: Config) -> list[str]:
    """A note for each key of the algorithm's preset that the user overrides."""
    name = config.algorithm.name
    if config.origin(NAME) == "default":
        return []
    return [
        f"{NAME} = {name} has {key} = {show(value)}; {at(config, key)} wins"
        for key, value in ALGORITHMS[name].preset.items()
        if get_value(config, key) != value
    ]


def clip_note(config: Config) -> list[str]:
    """A note on the clip range of the probability ratio and where it is set; none for a loss without a clip."""
    if config.worker.actor.loss_type == "sapo" or Capability.NO_ROLLOUTS in ALGORITHMS[config.algorithm.name].needs:
        return []
    keys = {side: f"worker.actor.clip_ratio_{side}" for side in ("low", "high")}
    sides = [f"{get_value(config, key):g} {side} ({config.origin(key)})" for side, key in keys.items()]
    return [f"clip of the probability ratio: {', '.join(sides)}"]


def tied_to_length(config: Config) -> str | None:
    """The setting that makes steps depend on the length of the run; None if the run can be extended.

    The decay of the echo term does not count: it has its own length (`echo.decay_steps`).
    """
    for role in config.algorithm.trained_roles:
        optim = getattr(config.worker, role).optim
        if optim.lr_scheduler_type != "constant":
            return f"worker.{role}.optim.lr_scheduler_type = {optim.lr_scheduler_type}"
        if optim.lr_warmup_steps is None and optim.lr_warmup_ratio > 0:
            return f"worker.{role}.optim.lr_warmup_ratio = {optim.lr_warmup_ratio}"
    if Capability.HINTS in ALGORITHMS[config.algorithm.name].needs:
        return f"algorithm.name = {config.algorithm.name} (the schedule of its hints)"
    return None
