"""Ray: join the cluster or start one, run the driver in it, and pass Ctrl-C on to it."""

from __future__ import annotations

import os
from typing import Any

import ray

from echorl_vl.config import Config
from echorl_vl.engines.easyr1.dry_run import DRY_RUN
from echorl_vl.engines.easyr1.runner import EchoRunner
from echorl_vl.engines.easyr1.settings import to_easyr1
from echorl_vl.engines.ray.adjusted import world_size
from echorl_vl.engines.ray.driver import follow
from echorl_vl.engines.ray.resources import cluster_issue
from echorl_vl.engines.ray.run import STOP_FILE
from echorl_vl.errors import UserError
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


def launch(config: Config, folder: RunFolder) -> bool:
    """Trains; True when the last step is done, False when the user stopped the run before.

    Raises:
        UserError: the cluster has too few GPUs, or what a worker found wrong.
    """
    settings = to_easyr1(config)
    settings.run_path = str(folder.path)
    settings.resume_step = folder.resume_step if folder.resumed else None
    settings.trainer.save_checkpoint_path = str(folder.path)
    settings.trainer.find_last_checkpoint = folder.checkpoint is not None
    if folder.checkpoint is not None:  # EasyR1 would take the given one before the newest
        settings.trainer.load_checkpoint_path = None
    settings.deep_post_init()
    stop = folder.path / STOP_FILE
    stop.unlink(missing_ok=True)
    _join_or_start(config, folder)
    try:
        return follow(EchoRunner.remote().run.remote(settings), stop)
    finally:
        stop.unlink(missing_ok=True)
        if settings.trainer.ray_timeline is not None:
            ray.timeline(filename=settings.trainer.ray_timeline)
        ray.shutdown()  # lets go of a cluster that was there before, and ends one of our own


def _join_or_start(config: Config, folder: RunFolder) -> None:
    """Connects to the Ray cluster of this machine, or starts one. Raises UserError if its GPUs are too few."""
    environment = {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()}
    environment["TENSORBOARD_DIR"] = os.environ.get("TENSORBOARD_DIR", str(folder.path / "tensorboard"))
    environment["WANDB_DIR"] = os.environ.get("WANDB_DIR", str(folder.path))
    options: dict[str, Any] = {"runtime_env": {"env_vars": environment}}
    if os.environ.get(DRY_RUN):
        environment[DRY_RUN] = "1"
        world = world_size(config)  # made-up GPUs: Ray only counts them
        options |= {"address": "local", "num_cpus": world + 4, "num_gpus": world, "include_dashboard": False}
    if not ray.is_initialized():
        ray.init(**options)
    problem = cluster_issue(config, ray.cluster_resources())
    if problem:
        ray.shutdown()
        raise UserError(problem)
