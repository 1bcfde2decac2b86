"""An engine on Ray as the registry knows it: what `easyr1` and `verl` have in common."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import ClassVar

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.issues import raise_if_any
from echorl_vl.engines.base import Engine
from echorl_vl.engines.ray.adjusted import capped, for_dry_run
from echorl_vl.engines.resources import Machine


class RayEngine(Engine):
    """An adapter around a host framework. Its folder has the modules `hooks`, `preflight`, `dry_run` and `run`.

    smaller: keys with which a model takes less memory, in words that follow "take more GPUs".
    """

    many_gpus = True
    smaller: ClassVar[str]

    def run(self, config: Config) -> int:
        self.check(config)
        return self._module("run").run(config)

    def issues(self, config: Config) -> list[ConfigIssue]:
        """Judged by what will run: a CPU dry run goes without what needs CUDA, and micro-batches are capped."""
        if config.trainer.device == "cpu":
            config, _ = for_dry_run(config)
        config, _ = capped(config)
        return [*super().issues(config), *self.own_issues(config)]

    @abstractmethod
    def own_issues(self, config: Config) -> list[ConfigIssue]:
        """What the host framework could not run, or would run differently, beyond single values."""

    def memory_warnings(self, config: Config, machine: Machine, parameters: int, needed: int) -> Iterator[str]:
        from echorl_vl.engines.ray.resources import memory_issues

        return (issue.message for issue in memory_issues(config, machine, self.smaller, parameters))

    def check_environment(self, cpu: bool = False) -> Iterator[str]:
        """Versions, and whether every name that the adapter uses is there. Without a GPU: for a CPU dry run."""
        hooks, preflight, dry_run = (self._module(name) for name in ("hooks", "preflight", "dry_run"))
        hooks.check_installed()
        yield hooks.found_verl()
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        cpu = cpu or not gpus
        yield f"torch {torch.__version__}, {gpus} GPUs: checked for {'a CPU dry run' if cpu else 'training'}"
        for name, version in preflight.found_versions():
            yield f"{name} {version or 'is not installed'}"
        raise_if_any(preflight.version_issues(cpu))
        if cpu:  # puts something in the place of CUDA and vllm, without which the modules can't be imported
            os.environ |= dry_run.ENVIRONMENT
            self._module("dry_run.install").install()
        warnings.simplefilter("ignore")  # the hosts name parts of theirs that nobody asked for
        hooks.check_hooks()
        yield f"all {len(hooks.HOOKS)} names of {self.name} that the adapter uses are there, with their parameters"

    def _module(self, name: str) -> ModuleType:
        return import_module(f"echorl_vl.engines.{self.name}.{name}")
