"""An engine on Ray as the registry knows it: what `easyr1` and `verl` have in common."""

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
    """An adapter around a host framework; `part` says what else is in its folder.

    host: the framework. smaller: keys with which a model takes less memory, in words that follow "take more GPUs".
    environment: variables of every process of a CPU dry run. newest_checkpoint: of a run folder, the checkpoint that a
    run can resume from, or None.
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
        """Judged by what will run: a CPU dry run goes without what needs CUDA, and micro-batches are capped."""
        if config.trainer.device == "cpu":
            config, _ = for_dry_run(config)
        config, _ = capped(config)
        return [*super().issues(config), *self.own_issues(config)]

    @abstractmethod
    def own_issues(self, config: Config) -> list[ConfigIssue]:
        """What the host framework could not run, or would run differently, beyond single values."""

    def model_issues(self, config: Config) -> Iterable[ConfigIssue]:
        """What of this kind only the model's own configuration tells, or a checkpoint to start from."""
        return ()

    def part(self, module: str) -> ModuleType:
        """A module of this engine's folder, which may import much, and the host.

        `datasets` has `prepare_sets(config, note)`: it loads and checks the problem sets, `note` takes lines about rows
        that are left out, and what it returns writes below a run folder what the host can't read as it is, and gives
        the configuration that names these files. `launch` has `driver(config, folder)`: the process that trains.
        `dry_run.install` has `install()`: it puts the CPU in the place of CUDA in this process.
        """
        return import_module(f"echorl_vl.engines.{self.name}.{module}")

    def preflight(self, config: Config, machine: Machine | None = None) -> None:
        """Everything that would stop a run minutes later, but for its data.

        Cheapest first: the host itself, versions, GPUs; then the hooks, which imports the host; then model and memory.

        Raises:
            UserError: lists what keeps `config` from running here.
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
        """Puts the CPU in the place of CUDA in this process. Raises UserError where the host is not installed."""
        self.host.check_installed()
        os.environ |= self.environment
        self.part("dry_run.install").install()

    def memory_warnings(self, config: Config, machine: Machine, parameters: int, needed: int) -> Iterator[str]:
        from echorl_vl.engines.ray.resources import memory_issues

        return (issue.message for issue in memory_issues(config, machine, self.smaller, parameters))

    def check_environment(self, cpu: bool = False) -> Iterator[str]:
        """Versions, and whether every name that the adapter uses is there. Without a GPU: for a CPU dry run."""
        self.host.check_installed()
        yield self.host.found()
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        cpu = cpu or not gpus
        yield f"torch {torch.__version__}, {gpus} GPUs: checked for {'a CPU dry run' if cpu else 'training'}"
        for name in self.host.packages:
            yield f"{name} {installed_version(name) or 'is not installed'}"
        raise_if_any(self.host.version_issues(cpu))
        if cpu:  # without CUDA and vllm, or something in their place, the host's modules can't be imported
            self.start_dry_run()
        warnings.simplefilter("ignore")  # the hosts name parts of theirs that nobody asked for
        self.host.check_hooks()
        yield f"all {len(self.host.hooks)} names of {self.name} that the adapter uses are there, with their parameters"
