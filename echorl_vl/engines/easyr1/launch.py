"""The driver process: EasyR1's Runner, patched to use our classes."""

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

# Variables that EasyR1's own start sets for its workers. Values from the user's environment take precedence.
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
    """The driver process. `run` returns False if the run was stopped before its last step."""

    def run(self, config: EchoPPOConfig) -> bool:
        trainers: list[EchoTrainer] = []

        def make_trainer(**arguments: Any) -> EchoTrainer:
            trainers.append(EchoTrainer(**arguments))
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
    """The driver of a run in `folder`. EasyR1 can read the problem sets of `config` (see `datasets`)."""
    settings = to_easyr1(config)
    settings.run_path = str(folder.path)
    settings.resume_step = folder.resume_step if folder.resumed else None
    settings.trainer.save_checkpoint_path = str(folder.path)
    settings.trainer.find_last_checkpoint = folder.checkpoint is not None
    if folder.checkpoint is not None:  # EasyR1 would prefer it to the newest checkpoint
        settings.trainer.load_checkpoint_path = None
    settings.deep_post_init()
    environment = {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()}
    return Driver(EchoRunner, settings, environment, extra_cpus=4)
