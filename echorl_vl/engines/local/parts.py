"""What a run is made of: problems, prompts, policy, reward and splitter, built from a configuration and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from echorl_vl.config import Config
from echorl_vl.core import Splitter, make_splitter
from echorl_vl.data.order import BatchOrder
from echorl_vl.data.problem import Problems
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.sources import load_problems
from echorl_vl.engines.local.architecture import check_window
from echorl_vl.engines.local.policy import Policy
from echorl_vl.errors import UserError
from echorl_vl.rewards.manager import RewardManager


@dataclass
class Parts:
    """Everything that reads the configuration once. `order` and `train` are None for `trainer.val_only`."""

    policy: Policy
    encoder: PromptEncoder
    train: Problems | None
    order: BatchOrder | None
    held_out: Problems | None
    rewards: RewardManager
    splitter: Splitter
    total_steps: int


def build_parts(config: Config, note: Callable[[str], None]) -> Parts:
    """Builds the parts, cheapest first, so that a mistake shows before a large model is loaded.

    Args:
        note: takes a line about what was found, for the user.

    Raises:
        UserError: problems, pictures, model, reward or device are not as wanted.
    """
    device = _device(config)
    reward = config.worker.reward
    rewards = RewardManager(
        reward.reward_function, dict(reward.reward_function_kwargs), reward.num_cpus, reward.time_limit
    )
    try:
        data = config.data
        train = None if config.trainer.val_only else _load(config, data.train_files, data.trace_key)
        held_out = _load(config, data.val_files) if data.val_files else None
        dtypes = config.worker.actor.fsdp
        policy = Policy.load(config.worker.actor.model, device, dtypes.mp_param_dtype, dtypes.torch_dtype)
        encoder = PromptEncoder(
            policy.processor,
            policy.tokenizer,
            format_prompt=data.format_prompt,
            min_pixels=data.min_pixels,
            max_pixels=data.max_pixels,
            max_prompt_length=data.max_prompt_length,
            override_chat_template=data.override_chat_template,
        )
        train, held_out = (_short_enough(problems, encoder, config, note) for problems in (train, held_out))
        check_window(policy, config)
        order = None if train is None else BatchOrder(len(train), data.rollout_batch_size, data.seed, data.shuffle)
        steps = 0 if order is None else config.trainer.max_steps or order.steps_per_epoch * config.trainer.total_epochs
        splitter = make_splitter(config.echo.splitter, policy.tokenizer, **config.echo.splitter_kwargs)
    except BaseException:
        rewards.close()
        raise
    parameters = sum(p.numel() for p in policy.model.parameters())
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    note(f"{type(policy.network).__name__}, {parameters:,} parameters ({trained:,} trained), on {policy.device}")
    problems, validated = (0 if some is None else len(some) for some in (train, held_out))
    note(f"{problems:,} training problems, {validated:,} held out, {steps:,} steps")
    return Parts(policy, encoder, train, order, held_out, rewards, splitter, steps)


def _device(config: Config) -> str:
    device = config.trainer.device
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("trainer.device = cuda: this machine has no GPU that torch can use; wanted auto or cpu")
    return device


def _load(config: Config, spec: str, trace_key: str | None = None) -> Problems:
    data = config.data
    keys = (data.prompt_key, data.answer_key, data.image_key, data.image_dir, data.video_key)
    return load_problems(spec, *keys, trace_key=trace_key)


def _short_enough(
    problems: Problems | None, encoder: PromptEncoder, config: Config, note: Callable[[str], None]
) -> Problems | None:
    if problems is None:
        return problems
    kept, dropped = encoder.filter_overlong(problems)  # reads every picture's header
    if dropped and config.data.filter_overlong_prompts:
        note(f"{problems.source}: left out {dropped:,} prompts longer than {config.data.max_prompt_length} tokens")
        return problems.select(kept)
    return problems
