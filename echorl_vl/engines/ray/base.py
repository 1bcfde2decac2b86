"""Base class of the engines on Ray, `easyr1` and `verl`."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.issues import raise_if_any
from echorl_vl.engines.base import Engine
from echorl_vl.engines.ray.adjusted import capped, for_dry_run
from echorl_vl.engines.ray.host import Host, installed_version
from echorl_vl.engines.resources import Machine


class RayEngine(Engine):
    """An adapter around a host framework. `part` describes the other modules of its folder.

    Attributes:
        host: the framework.
        smaller: settings that reduce memory, as the end of an error message that begins "Use more GPUs (...), ".
        environment: environment variables of every process of a CPU dry run.
        newest_checkpoint: from a run folder to the newest checkpoint that a run can resume from, or None.
    """

    many_gpus = True
    host: ClassVar[Host]
    smaller: ClassVar[str]
    environment: ClassVar[Mapping[str, str]]
    newest_checkpoint: ClassVar[Callable[[Path], Path | None]]

    def run(self, config: Config) -> int:
        from echorl_vl.engines.ray.run import run_on_ray

        self.check(config)
        return run_on_ray(self, config)

    def is_installed(self) -> bool:
        return self.host.is_installed()

    def issues(self, config: Config) -> list[ConfigIssue]:
        """Issues of the configuration that will run: without CUDA in a CPU dry run, with capped micro-batches."""
        if config.trainer.device == "cpu":
            config, _ = for_dry_run(config)
        config, _ = capped(config)
        return [*super().issues(config), *self.own_issues(config)]

    @abstractmethod
    def own_issues(self, config: Config) -> list[ConfigIssue]:
        """Combinations of settings that the host framework can't run, or would run differently."""

    def model_issues(self, config: Config) -> Iterable[ConfigIssue]:
        """Issues that can only be found by reading the model's own configuration, or a checkpoint."""
        return ()

    def part(self, module: str) -> ModuleType:
        """Import a module of this engine's folder, which may import the host.

        An engine has these modules:

            datasets         `prepare_sets(config, note)` loads and checks the problem sets. `note` is called with a
                             line about rows that are left out. Returns a function that writes the sets that the host
                             can't read to a run folder, and returns the configuration with the new paths.
            launch           `driver(config, folder)` returns the `Driver` of a run.
            dry_run.install  `install()` replaces CUDA by the CPU in this process.
        """
        return import_module(f"echorl_vl.engines.{self.name}.{module}")

    def preflight(self, config: Config, machine: Machine | None = None) -> None:
        """Check everything except the data that would otherwise stop a run minutes later.

        Cheap checks come first: the host, versions and GPUs; then the hooks, which imports the host; then the model
        and memory.

        Raises:
            UserError: `config` can't run here; the message lists all reasons of the first check that fails.
        """
        from echorl_vl.engines.ray.resources import gpu_issues, memory_issues, model_issues

        machine = machine or Machine.here()
        self.host.check_installed()
        versions = self.host.version_issues(config.trainer.device == "cpu")
        raise_if_any([*versions, *gpu_issues(config, machine, self.name)])
        self.host.check_hooks()
        raise_if_any(model_issues(config))
        raise_if_any([*self.model_issues(config), *memory_issues(config, machine, self.smaller)])

    def start_dry_run(self) -> None:
        """Replace CUDA by the CPU in this process.

        Raises:
            UserError: the host is not installed.
        """
        self.host.check_installed()
        os.environ |= self.environment
        self.part("dry_run.install").install()

    def memory_warnings(self, config: Config, machine: Machine, parameters: int, needed: int) -> Iterator[str]:
        from echorl_vl.engines.ray.resources import memory_issues

        return (issue.message for issue in memory_issues(config, machine, self.smaller, parameters))

    def check_environment(self, cpu: bool = False) -> Iterator[str]:
        """Check versions and the host's names; without a GPU, those that a CPU dry run needs."""
        self.host.check_installed()
        yield self.host.found()
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        cpu = cpu or not gpus
        yield f"torch {torch.__version__}, {gpus} GPUs: checked for {'a CPU dry run' if cpu else 'training'}"
        for name in self.host.packages:
            yield f"{name} {installed_version(name) or 'is not installed'}"
        raise_if_any(self.host.version_issues(cpu))
        if cpu:  # the host's modules can't be imported without CUDA and vllm, or replacements
            self.start_dry_run()
        warnings.simplefilter("ignore")  # the hosts' own imports warn
        self.host.check_hooks()
        yield f"all {len(self.host.hooks)} {self.name} classes, functions and attributes that the adapter uses exist"
