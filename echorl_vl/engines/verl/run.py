"""A whole run with verl: check everything, open the run folder, hand over to Ray, and say what came of it."""

from __future__ import annotations

import os

from echorl_vl.config import Config
from echorl_vl.engines.ray.adjusted import capped, for_dry_run
from echorl_vl.engines.ray.run import open_run, train_hosted
from echorl_vl.engines.verl.checkpoints import newest_checkpoint
from echorl_vl.engines.verl.datasets import load_sets, readable_by_verl
from echorl_vl.engines.verl.dry_run import ENVIRONMENT
from echorl_vl.engines.verl.preflight import preflight
from echorl_vl.errors import UserError
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.tracker import check_loggers
from echorl_vl.rewards.manager import RewardManager


def run(config: Config) -> int:
    """Trains as `config` says; returns the exit status: 0 when done, 130 when the user stopped it.

    Raises:
        UserError: something about configuration, versions, machine, model, data or disk that the user can mend.
    """
    console = make_console(soft_wrap=True)
    if config.trainer.device == "cpu":
        os.environ |= ENVIRONMENT
        config, changes = for_dry_run(config)
        for change in changes:
            console.print(f"CPU dry run: {change}")
    config, changes = capped(config)
    for change in changes:
        console.print(change)
    check_loggers(config.trainer.logger)
    reward = config.worker.reward
    RewardManager(reward.reward_function, dict(reward.reward_function_kwargs)).close()  # checks both
    if config.trainer.device == "cpu":
        from echorl_vl.engines.verl.dry_run.install import install
        from echorl_vl.engines.verl.hooks import check_installed

        check_installed()
        install()
    preflight(config)
    sets = load_sets(config, _tokenizer(config), console.print)
    with open_run(config, newest_checkpoint, console) as folder:
        from echorl_vl.engines.verl.launch import launch  # imports verl

        ready = readable_by_verl(config, folder.path, sets)
        return train_hosted(ready, folder, launch, newest_checkpoint, console)


def _tokenizer(config: Config):
    from transformers import AutoTokenizer

    model = config.worker.actor.model
    path = model.tokenizer_path or model.model_path
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=model.trust_remote_code)
    except Exception as error:
        raise UserError(
            f"{path}: no tokenizer can be had ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
