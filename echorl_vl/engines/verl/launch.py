"""verl's configuration composed, Ray joined or started, and the driver run in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ray
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict
from verl.trainer import main_ppo
from verl.trainer.constants_ppo import get_ppo_ray_runtime_env
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config

from echorl_vl.config import Config
from echorl_vl.engines import verl as plugin
from echorl_vl.engines.ray.adjusted import world_size
from echorl_vl.engines.ray.driver import follow
from echorl_vl.engines.ray.resources import cluster_issue
from echorl_vl.engines.ray.run import STOP_FILE
from echorl_vl.engines.verl.dry_run import DRY_RUN, ENVIRONMENT, dry_run_settings
from echorl_vl.engines.verl.settings import extra_sections, to_verl
from echorl_vl.engines.verl.trainers import RUN_MODE
from echorl_vl.errors import UserError
from echorl_vl.outputs.run_folder import RunFolder


class _Runner(main_ppo.TaskRunnerV1.__ray_metadata__.modified_class):
    """The driver process. Trains; True if the last step was reached, False if the run was stopped before."""

    def run(self, config: DictConfig) -> bool:
        super().run(config)
        return not self.trainer.stopped


def launch(config: Config, folder: RunFolder) -> bool:
    """Trains; True when the last step is done, False when the user stopped the run before.

    Raises:
        UserError: verl refuses the configuration, the cluster has too few GPUs, or what a worker found wrong.
    """
    settings = compose_settings(config, folder)
    stop = folder.path / STOP_FILE
    stop.unlink(missing_ok=True)
    _join_or_start(config, settings, folder.path)
    try:
        runner = ray.remote(num_cpus=1)(_Runner)
        return follow(runner.remote().run.remote(settings), stop)
    finally:
        stop.unlink(missing_ok=True)
        if config.trainer.ray_timeline is not None:
            ray.timeline(filename=config.trainer.ray_timeline)
        ray.shutdown()  # lets go of a cluster that was there before, and ends one of our own


def compose_settings(config: Config, folder: RunFolder) -> DictConfig:
    """verl's configuration for a run in `folder`, checked by verl's own check."""
    values = to_verl(config) | {"trainer.default_local_dir": str(folder.path)}
    if folder.checkpoint is not None:  # the newest one goes before a given one
        values |= {"trainer.resume_mode": "resume_path", "trainer.resume_from_path": str(folder.checkpoint)}
    if config.trainer.device == "cpu":
        values |= dry_run_settings()
    with initialize_config_module("verl.trainer.config", version_base=None):
        settings = compose("ppo_trainer", overrides=["actor_rollout_ref.actor.strategy=fsdp2"])
    for key, value in values.items():
        _set(settings, key, value)
    with open_dict(settings):
        settings.update(extra_sections(config, folder.path, folder.resume_step if folder.resumed else None))
        settings.trainer.v1.trainer_mode = RUN_MODE
    reference, critic = need_reference_policy(settings), need_critic(settings)
    try:
        validate_config(settings, use_reference_policy=reference, use_critic=critic)
    except (AssertionError, ValueError) as error:
        raise UserError(f"engine verl: verl refuses the configuration: {error}") from error
    return settings


_ADDED = ("mixed_precision",)  # keys that verl's classes have, and its files leave out


def _set(settings: DictConfig, key: str, value: Any) -> None:
    """Raises KeyError for a key that verl does not have."""
    if OmegaConf.select(settings, key.rpartition(".")[0]) is None:
        raise KeyError(f"verl has no section {key.rpartition('.')[0]}")
    new = key.rpartition(".")[2] in _ADDED
    free = new or isinstance(value, dict)  # a mapping of the user's own keys
    OmegaConf.update(settings, key, value, merge=False, force_add=free)


def _join_or_start(config: Config, settings: DictConfig, run: Path) -> None:
    """Connects to the Ray cluster of this machine, or starts one. Raises UserError if its GPUs are too few."""
    environment = dict(get_ppo_ray_runtime_env(settings)["env_vars"])
    others = [name for name in os.environ.get(plugin.PLUGIN, "").split(",") if name and name != plugin.__name__]
    environment[plugin.PLUGIN] = ",".join([*others, plugin.__name__])
    environment["TRANSFER_QUEUE_ENABLE"] = "1"
    environment["TENSORBOARD_DIR"] = os.environ.get("TENSORBOARD_DIR", str(run / "tensorboard"))
    environment["WANDB_DIR"] = os.environ.get("WANDB_DIR", str(run))
    options: dict[str, Any] = {"runtime_env": {"env_vars": environment}}
    if os.environ.get(DRY_RUN):
        environment |= ENVIRONMENT
        world = world_size(config)  # made-up GPUs: Ray only counts them
        options |= {"address": "local", "num_cpus": world + 16, "num_gpus": world, "include_dashboard": False}
    if not ray.is_initialized():
        ray.init(**options)
    if problem := cluster_issue(config, ray.cluster_resources()):
        ray.shutdown()
        raise UserError(problem)
