"""The driver process of verl, and its configuration."""

from __future__ import annotations

import os
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict
from verl.trainer import main_ppo
from verl.trainer.constants_ppo import get_ppo_ray_runtime_env
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config

from echorl_vl.config import Config
from echorl_vl.engines import verl as plugin
from echorl_vl.engines.ray.driver import Driver
from echorl_vl.engines.verl.dry_run import dry_run_settings
from echorl_vl.engines.verl.run_trainer import RUN_MODE
from echorl_vl.engines.verl.settings import extra_sections, to_verl
from echorl_vl.errors import UserError
from echorl_vl.outputs.run_folder import RunFolder


class EchoRunner(main_ppo.TaskRunnerV1.__ray_metadata__.modified_class):
    """The driver process. `run` returns False if the run was stopped before its last step."""

    def run(self, config: DictConfig) -> bool:
        super().run(config)
        return not self.trainer.stopped


def driver(config: Config, folder: RunFolder) -> Driver:
    """The driver of a run in `folder`. verl can read the problem sets of `config` (see `datasets`).

    Raises:
        UserError: verl rejects the configuration.
    """
    settings = compose_settings(config, folder)
    environment = dict(get_ppo_ray_runtime_env(settings)["env_vars"])
    others = [name for name in os.environ.get(plugin.PLUGIN, "").split(",") if name and name != plugin.__name__]
    environment |= {plugin.PLUGIN: ",".join([*others, plugin.__name__]), "TRANSFER_QUEUE_ENABLE": "1"}
    return Driver(EchoRunner, settings, environment, extra_cpus=16)


def compose_settings(config: Config, folder: RunFolder) -> DictConfig:
    """verl's configuration of a run in `folder`. Raises UserError if verl's own check refuses it."""
    values = to_verl(config) | {"trainer.default_local_dir": str(folder.path)}
    if folder.checkpoint is not None:  # preferred to trainer.load_checkpoint_path
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
        raise UserError(f"engine verl: verl rejects the configuration: {error}") from error
    return settings


_ADDED = ("mixed_precision",)  # keys of verl's classes that its files lack


def _set(settings: DictConfig, key: str, value: Any) -> None:
    """Set a dotted key. Raises KeyError if verl does not have it."""
    if OmegaConf.select(settings, key.rpartition(".")[0]) is None:
        raise KeyError(f"verl has no section {key.rpartition('.')[0]}")
    new = key.rpartition(".")[2] in _ADDED
    free = new or isinstance(value, dict)  # the keys of a mapping are free
    OmegaConf.update(settings, key, value, merge=False, force_add=free)
