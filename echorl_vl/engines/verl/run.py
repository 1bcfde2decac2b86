"""A whole run with verl: check everything, open the run folder, hand over to Ray, and say what came of it."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from echorl_vl.config import Config, check_verl, rehearsed, to_yaml
from echorl_vl.engines.verl.checkpoints import newest_checkpoint
from echorl_vl.engines.verl.datasets import load_sets, readable_by_verl
from echorl_vl.engines.verl.preflight import preflight
from echorl_vl.engines.verl.rehearsal import ENVIRONMENT
from echorl_vl.errors import INTERRUPTED, UserError
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
        os.environ |= ENVIRONMENT
        config, changes = rehearsed(config)
        for change in changes:
            console.print(f"rehearsal on the CPU: {change}")
    check_verl(config)
    check_loggers(config.trainer.logger)
    reward = config.worker.reward
    UserReward.parse(reward.reward_function, reward.reward_function_kwargs).check()
    if config.trainer.device == "cpu":
        from echorl_vl.engines.verl.hooks import check_installed
        from echorl_vl.engines.verl.rehearsal.install import install

        check_installed()
        install()
    preflight(config)
    sets = load_sets(config, _tokenizer(config))
    trainer = config.trainer
    path = trainer.save_checkpoint_path or Path("checkpoints") / trainer.project_name / trainer.experiment_name
    resume = trainer.find_last_checkpoint
    with RunFolder.open(path, to_yaml(config), resume, find_checkpoint=newest_checkpoint) as folder:
        for note in folder.notes:
            console.print(note)
        return _train(readable_by_verl(config, folder.path, sets), folder, console)


def _train(config: Config, folder: RunFolder, console: Console) -> int:
    from echorl_vl.engines.verl.launch import launch  # imports verl

    folder.write_environment("cpu" if config.trainer.device == "cpu" else "cuda", config.data.seed)
    done = launch(config, folder)
    with Display(total_steps=folder.resume_step, plain=True, console=console) as display:
        if not done:
            found = newest_checkpoint(folder.path)
            way = f"goes on from {found.name}" if found else "starts again: nothing was saved yet"
            display.note(f"stopped; the same command {way} ({folder.path})")
            return INTERRUPTED
        finish_run(folder, display)
    return 0


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
