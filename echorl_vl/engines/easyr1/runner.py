"""The driver process: EasyR1's Runner, which finds our classes where it looks for its own."""

from __future__ import annotations

from typing import Any

import ray
from verl.trainer import main

from echorl_vl.engines.easyr1.rewards import EchoRewardManager
from echorl_vl.engines.easyr1.settings import EchoPPOConfig
from echorl_vl.engines.easyr1.trainer import EchoTrainer
from echorl_vl.engines.easyr1.worker import EchoWorker
from echorl_vl.engines.ray.hooks import patched


class _Runner(main.Runner.__ray_metadata__.modified_class):
    """Trains; True if the last step was reached, False if the run was stopped before."""

    def run(self, config: EchoPPOConfig) -> bool:
        trainers: list[EchoTrainer] = []

        def make_trainer(**parts: Any) -> EchoTrainer:
            trainers.append(EchoTrainer(**parts))
            return trainers[0]

        ours = {
            "FSDPWorker": EchoWorker,
            "AutoRewardManager": EchoRewardManager.for_run(config.ours),
            "RayPPOTrainer": make_trainer,
        }
        with patched(main, **ours):
            super().run(config)
        return not trainers[0].stopped


EchoRunner = ray.remote(num_cpus=1)(_Runner)  # as EasyR1 asks for
