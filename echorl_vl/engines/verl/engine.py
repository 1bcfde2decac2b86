"""verl as the registry knows it."""

from __future__ import annotations

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.engines.base import register
from echorl_vl.engines.ray.base import RayEngine
from echorl_vl.engines.verl import hooks
from echorl_vl.engines.verl.checks import ACCEPTS, SMALLER, verl_issues
from echorl_vl.engines.verl.settings import NO_EFFECT


@register
class VerlEngine(RayEngine):
    name = "verl"
    summary = "verl: Ray, FSDP2 and vLLM, text only, on one GPU or many"
    accepts = ACCEPTS
    ignores = NO_EFFECT
    smaller = SMALLER

    def own_issues(self, config: Config) -> list[ConfigIssue]:
        return verl_issues(config)

    def is_installed(self) -> bool:
        return hooks.verl_installed()
