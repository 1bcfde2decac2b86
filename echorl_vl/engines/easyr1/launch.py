"""The driver process of EasyR1: its Runner, which finds our classes where it looks for its own."""

from __future__ import annotations

import os
from typing import Any

from verl.trainer import main
from verl.utils import dataset

from echorl_vl.config import Config
from echorl_vl.engines.easyr1.datasets import with_problem_columns
from echorl_vl.engines.easyr1.rewards import EchoRewardManager
from echorl_vl.engines.easyr1.settings import EchoPPOConfig, to_easyr1
from echorl_vl.engines.easyr1.trainer import EchoTrainer
from echorl_vl.engines.easyr1.worker import EchoWorker
from echorl_vl.engines.ray.driver import Driver
from echorl_vl.engines.ray.hooks import patched
from echorl_vl.outputs.run_folder import RunFolder

# What EasyR1's own start sets for its workers; a variable that you have set yourself wins.
ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "true",
    "NCCL_DEBUG": "WARN",
    "VLLM_LOGGING_LEVEL": "WARN",
    "TORCH_NCCL_AVOID_RECORD_STREAMS": "1",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:False",
    "CUDA_DEVICE_MAX_CONNECTIONS": "1",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
}


class EchoRunner(main.Runner.__ray_metadata__.modified_class):
    """The driver process. Trains; True if the last step was reached, False if the run was stopped before."""

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
        load_dataset = with_problem_columns(dataset.load_dataset, config.data.prompt_key)
        with patched(main, **ours), patched(dataset, load_dataset=load_dataset):
            super().run(config)
        return not trainers[0].stopped


def driver(config: Config, folder: RunFolder) -> Driver:
    """What trains `config`, whose sets EasyR1 can read (`datasets`), in a run folder."""
    settings = to_easyr1(config)
    settings.run_path = str(folder.path)
    settings.resume_step = folder.resume_step if folder.resumed else None
    settings.trainer.save_checkpoint_path = str(folder.path)
    settings.trainer.find_last_checkpoint = folder.checkpoint is not None
    if folder.checkpoint is not None:  # EasyR1 would take the given one before the newest
        settings.trainer.load_checkpoint_path = None
    settings.deep_post_init()
    environment = {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()}
    return Driver(EchoRunner, settings, environment, extra_cpus=4)
