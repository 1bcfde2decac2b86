"""A whole run with EasyR1: check everything, open the run folder, hand over to Ray, and say what came of it."""

from __future__ import annotations

import os

from echorl_vl.config import Config
from echorl_vl.engines.easyr1.checkpoints import newest_checkpoint
from echorl_vl.engines.easyr1.datasets import check_fills_a_batch, load_sets, readable_by_easyr1, screen_sets
from echorl_vl.engines.easyr1.dry_run import ENVIRONMENT
from echorl_vl.engines.easyr1.expert_traces import wants_demonstrations, with_usable_demonstrations
from echorl_vl.engines.easyr1.hooks import check_installed
from echorl_vl.engines.easyr1.preflight import check_pictures, preflight
from echorl_vl.engines.ray.adjusted import capped, for_dry_run
from echorl_vl.engines.ray.run import open_run, train_hosted
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
        check_installed()  # what follows imports EasyR1 and its packages
        os.environ |= ENVIRONMENT
        from echorl_vl.engines.easyr1.dry_run.install import install

        install()
        config, changes = for_dry_run(config)
        for change in changes:
            console.print(f"CPU dry run: {change}")
    config, changes = capped(config)
    for change in changes:
        console.print(change)
    check_loggers(config.trainer.logger)
    reward = config.worker.reward
    RewardManager(reward.reward_function, dict(reward.reward_function_kwargs)).close()  # checks both
    preflight(config)
    sets = load_sets(config)
    check_pictures(config, sets["train_files"])
    sets = screen_sets(config, sets, console.print)
    traces = None
    if wants_demonstrations(config):
        sets["train_files"], traces, note = with_usable_demonstrations(config, sets["train_files"])
        console.print(note)
        check_fills_a_batch(config, sets["train_files"])
    with open_run(config, newest_checkpoint, console) as folder:
        from echorl_vl.engines.easyr1.launch import launch  # imports EasyR1

        ready = readable_by_easyr1(config, folder.path, sets, traces)
        return train_hosted(ready, folder, launch, newest_checkpoint, console)
