"""Checks for verl's own command line: settings that the plug-in can't run with, and trainers that ignore `+echo.`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf

from echorl_vl.core import EchoConfig
from echorl_vl.errors import UserError

logger = logging.getLogger(__name__)


def warn_where_the_term_is_missing(trainer: type, ours: type) -> None:
    """Make `trainer`, a class of verl's, warn if an instance other than of `ours` is built with an `echo` block."""
    build = trainer.__init__

    @functools.wraps(build)
    def build_and_warn(self: Any, *arguments: Any, **options: Any) -> None:
        config = options.get("config", arguments[0] if arguments else {})
        if not isinstance(self, ours) and (line := missing_term(config)):
            logger.warning(line)
        build(self, *arguments, **options)

    trainer.__init__ = build_and_warn


def missing_term(config: Any) -> str | None:
    """The warning that a trainer of verl's ignores the `echo` block; None if the block asks for no echo term."""
    block = config.get("echo", None)
    if block is None or block.get("coef", EchoConfig.coef) == 0:
        return None
    mode = config.trainer.get("v1", {}).get("trainer_mode", None)
    found = f"trainer.v1.trainer_mode = {mode}" if config.trainer.get("use_v1", True) else "trainer.use_v1 = false"
    return (
        f"this run trains WITHOUT the echo term. The configuration has echo.* keys, and {found} is verl's own "
        "trainer; expected trainer.v1.trainer_mode=echo_sync. To train without the term on purpose: +echo.coef=0."
    )


EXPECTED_FALSE = {
    "algorithm.rollout_correction.bypass_mode": "skips the pass that gives the entropies",
    "distillation.enabled": "its loss is not verl's policy loss",
    "trainer.v1.sampler.sync_refill_failed_groups": "hides rollouts that fail",
}


def check_plugin(config: Any) -> None:
    """Raises UserError, naming verl's keys, for settings with which EchoRL can't mine clips or add its term."""
    if issues := list(_issues(config)):
        lines = "\n".join(f"  {line}" for line in issues)
        raise UserError(f"EchoRL can't run with this configuration of verl:\n{lines}")


def _issues(config: Any) -> Iterator[str]:
    for key, why in EXPECTED_FALSE.items():
        if OmegaConf.select(config, key, default=False):
            yield f"{key} = true: {why}; expected false"
    key = "actor_rollout_ref.actor.strategy"
    if (strategy := OmegaConf.select(config, key)) not in ("fsdp", "fsdp2"):
        yield f"{key} = {strategy}: expected fsdp2 or fsdp"
    block = OmegaConf.to_container(config.get("echo", None) or OmegaConf.create(), resolve=True)
    for name in sorted(set(block) - set(EchoConfig.__dataclass_fields__)):
        yield f"echo.{name}: no such key; expected one of {', '.join(EchoConfig.__dataclass_fields__)}"
        block.pop(name)
    try:
        echo = EchoConfig(**block)
    except (ValueError, TypeError) as error:
        yield str(error)
        return
    if echo.entropy_temperature is not None:
        yield f"echo.entropy_temperature = {echo.entropy_temperature}: verl uses the rollout's; expected null"
    if echo.log_grad_share:
        yield "echo.log_grad_share = true: gradient norms of single terms aren't measured; expected false"
