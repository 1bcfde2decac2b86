"""The local engine as the registry knows it."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from echorl_vl.algorithms import Capability
from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.issues import issue_at
from echorl_vl.engines.base import Engine, engines_on_many_gpus, register
from echorl_vl.engines.local.checks import ACCEPTS, IGNORES, precision_issues
from echorl_vl.engines.resources import GIB, Machine

_BYTES_TRAINED, _BYTES_FROZEN = 16, 4  # float32 weight, gradient and AdamW's two moments; a frozen weight under LoRA


@register
class LocalEngine(Engine):
    name = "local"
    summary = "one process, on a CPU or one GPU"
    capabilities = frozenset(Capability)
    accepts = ACCEPTS
    ignores = IGNORES
    auto_order = 100  # it runs anywhere, so it is asked last

    def run(self, config: Config) -> int:
        self.check(config)
        from echorl_vl.engines.local.run import run

        return run(config)

    def issues(self, config: Config) -> list[ConfigIssue]:
        return [*super().issues(config), *precision_issues(config)]

    def inputs(self, config: Config) -> list[str]:
        unread = "worker.critic.", *(("data.train_files",) if config.trainer.val_only else ())
        return [key for key in super().inputs(config) if not key.startswith(unread)]

    def size_issues(self, config: Config, parameters: int) -> Iterator[ConfigIssue]:
        import torch

        if torch.cuda.is_available() and config.trainer.device != "cpu":
            return
        frozen = bool(config.worker.actor.model.lora.rank)
        needed, memory = parameters * (_BYTES_FROZEN if frozen else _BYTES_TRAINED), psutil.virtual_memory().total
        if needed > memory:
            what = "frozen weights" if frozen else "weights, gradients and AdamW"
            yield issue_at(
                config,
                "worker.actor.model.model_path",
                f"{parameters / 1e9:.2f} billion parameters, {needed / GIB:,.0f} GiB for {what}; expected at most this "
                f"machine's {memory / GIB:,.0f} GiB. Take a smaller model, or GPUs with {engines_on_many_gpus()}",
            )

    def memory_warnings(self, config: Config, machine: Machine, parameters: int, needed: int) -> Iterator[str]:
        if needed > (machine.gpus[0] if machine.gpus else machine.memory):
            yield f"the model does not fit; {engines_on_many_gpus()} spreads it over several GPUs"
