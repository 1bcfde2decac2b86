"""What the plug-in can't do with a configuration of verl's own command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf

from echorl_vl.core import EchoConfig
from echorl_vl.errors import UserError

WANTED_FALSE = {
    "algorithm.rollout_correction.bypass_mode": "skips the pass that gives the entropies",
    "distillation.enabled": "its loss is not verl's policy loss",
    "trainer.v1.sampler.sync_refill_failed_groups": "hides rollouts that fail",
}


def check_plugin(config: Any) -> None:
    """Raises UserError, naming verl's key, for settings with which clips can't be mined or the term not be added."""
    if wrong := list(_wrong(config)):
        lines = "\n".join(f"  {line}" for line in wrong)
        raise UserError(f"EchoRL can't run with this configuration of verl:\n{lines}")


def _wrong(config: Any) -> Iterator[str]:
    for key, why in WANTED_FALSE.items():
        if OmegaConf.select(config, key, default=False):
            yield f"{key} = true: {why}; wanted false"
    key = "actor_rollout_ref.actor.strategy"
    if (strategy := OmegaConf.select(config, key)) not in ("fsdp", "fsdp2"):
        yield f"{key} = {strategy}: wanted fsdp2 or fsdp"
    block = OmegaConf.to_container(config.get("echo", None) or OmegaConf.create(), resolve=True)
    for name in sorted(set(block) - set(EchoConfig.__dataclass_fields__)):
        yield f"echo.{name}: no such key; there are {', '.join(EchoConfig.__dataclass_fields__)}"
        block.pop(name)
    try:
        echo = EchoConfig(**block)
    except (ValueError, TypeError) as error:
        yield str(error)
        return
    if echo.entropy_temperature is not None:
        yield f"echo.entropy_temperature = {echo.entropy_temperature}: verl's are at the rollout's; wanted null"
    if echo.log_grad_share:
        yield "echo.log_grad_share = true: gradient norms of single terms are not measured here; wanted false"
