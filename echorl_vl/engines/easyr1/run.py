"""A whole run with EasyR1: check everything, open the run folder, hand over to Ray, and say what came of it."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from echorl_vl.config import Config, check_easyr1, rehearsed, to_yaml
from echorl_vl.engines.easyr1.checkpoints import newest_checkpoint
from echorl_vl.engines.easyr1.datasets import check_fills_a_batch, load_sets, readable_by_easyr1
from echorl_vl.engines.easyr1.expert_traces import wants_traces, with_usable_traces
from echorl_vl.engines.easyr1.preflight import check_pictures, preflight
from echorl_vl.engines.easyr1.rehearsal import REHEARSAL
from echorl_vl.errors import INTERRUPTED
from echorl_vl.outputs.display import Display
from echorl_vl.outputs.finish import finish_run
from echorl_vl.outputs.run_folder import RunFolder
from echorl_vl.outputs.tracker import check_loggers
from echorl_vl.rewards.loading import UserReward


def run(config: Config) -> int:
    """Trains as `config` says; returns the exit status: 0 when done, 130 when the user stopped it.

    Raises:
        UserError: something about configuration, versions, machine, model, data or disk that the user can mend.
    """
    console = Console(highlight=False, soft_wrap=True)
    if config.trainer.device == "cpu":
        os.environ[REHEARSAL] = "1"
        from echorl_vl.engines.easyr1.rehearsal.install import install

        install()
        config, changes = rehearsed(config)
        for change in changes:
            console.print(f"rehearsal on the CPU: {change}")
    check_easyr1(config)
    check_loggers(config.trainer.logger)
    reward = config.worker.reward
    UserReward.parse(reward.reward_function, reward.reward_function_kwargs).check()
    preflight(config)
    sets = load_sets(config)
    check_pictures(config, sets["train_files"])
    traces = None
    if wants_traces(config):
        sets["train_files"], traces, note = with_usable_traces(config, sets["train_files"])
        console.print(note)
        check_fills_a_batch(config, sets["train_files"])
    trainer = config.trainer
    path = trainer.save_checkpoint_path or Path("checkpoints") / trainer.project_name / trainer.experiment_name
    resume = trainer.find_last_checkpoint
    with RunFolder.open(path, to_yaml(config), resume, find_checkpoint=newest_checkpoint) as folder:
        for note in folder.notes:
            console.print(note)
        return _train(readable_by_easyr1(config, folder.path, sets, traces), folder, console)


def _train(config: Config, folder: RunFolder, console: Console) -> int:
    from echorl_vl.engines.easyr1.launch import launch  # imports EasyR1

    device = "cpu" if config.trainer.device == "cpu" else "cuda"
    folder.write_environment(device, config.data.seed)
    done = launch(config, folder)
    with Display(total_steps=folder.resume_step, plain=True, console=console) as display:
        if not done:
            found = newest_checkpoint(folder.path)
            way = f"goes on from {found.name}" if found else "starts again: nothing was saved yet"
            display.note(f"stopped; the same command {way} ({folder.path})")
            return INTERRUPTED
        finish_run(folder, display)
    return 0
