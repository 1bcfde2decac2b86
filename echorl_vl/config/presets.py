"""`algorithm.name` stands for the keys that define the algorithm.

They take effect where the name is set, before the keys beside it: in a file, each key of the file wins over them; on
the command line they win over the file, and each key of the command line over them. Two names: the last one counts,
and the options that stand in the file beside the first one go with it.
"""

from __future__ import annotations

from echorl_vl.algorithms import ALGORITHMS, Capability

from .dump import get_value
from .issues import at, show
from .read import Assignment
from .schema import Config

NAME = "algorithm.name"
OPTIONS = "algorithm.options"


def overridden(config: Config) -> list[str]:
    """A line for each key that `algorithm.name` sets and that a key of the user's sets otherwise."""
    name = config.algorithm.name
    if config.origin(NAME) == "default":
        return []
    return [
        f"{NAME} = {name} has {key} = {show(value)}; {at(config, key)} wins"
        for key, value in ALGORITHMS[name].preset.items()
        if get_value(config, key) != value
    ]


def clip_note(config: Config) -> list[str]:
    """A line: the clip of the probability ratio that a run trains with, and who set it; none for a loss without one."""
    if config.worker.actor.loss_type == "sapo" or Capability.NO_ROLLOUTS in ALGORITHMS[config.algorithm.name].needs:
        return []
    keys = {side: f"worker.actor.clip_ratio_{side}" for side in ("low", "high")}
    sides = [f"{get_value(config, key):g} {side} ({config.origin(key)})" for side, key in keys.items()]
    return [f"clip of the probability ratio: {', '.join(sides)}"]


def with_presets(*layers: list[Assignment]) -> list[Assignment]:
    """All assignments in order of precedence, the last one wins.

    Args:
        layers: assignments of the file, then of the command line.
    """
    named = [(number, one) for number, layer in enumerate(layers) for one in layer if one.key == NAME]
    merged: list[Assignment] = []
    for number, layer in enumerate(layers):
        if named and named[-1][0] == number:
            chosen = named[-1][1]
            algorithm = ALGORITHMS.get(chosen.value) if isinstance(chosen.value, str) else None
            origin = f"{NAME} = {chosen.value}, {chosen.origin}"
            merged += [Assignment(key, value, origin) for key, value in (algorithm.preset if algorithm else {}).items()]
        superseded = bool(named) and number < named[-1][0]
        merged += [one for one in layer if not (superseded and one.key == OPTIONS)]
    return merged
