"""Builds and checks the components of a run from its configuration: problems, prompts, policy, reward, splitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from echorl_vl.algorithms import make_algorithm
from echorl_vl.config import Config
from echorl_vl.core import Splitter, make_splitter
from echorl_vl.data.demonstrations import DemonstrationEncoder
from echorl_vl.data.from_config import (
    demonstration_encoder,
    load_set,
    make_encoder,
    screen_set,
    with_demonstrations,
)
from echorl_vl.data.order import BatchOrder
from echorl_vl.data.problem import Problems
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.engines.local.architecture import check_window
from echorl_vl.engines.local.memory import check_memory
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.strategies import added_tokens, check_training_set
from echorl_vl.errors import UserError, counted
from echorl_vl.models.loading import load_inputs
from echorl_vl.rewards.manager import RewardManager


@dataclass
class TrainingContext:
    """The components of a run.

    `order` and `train` are None with `trainer.val_only`. `demonstrations` is None unless the algorithm uses them.
    """

    policy: Policy
    encoder: PromptEncoder
    train: Problems | None
    order: BatchOrder | None
    validation_set: Problems | None
    rewards: RewardManager
    splitter: Splitter
    total_steps: int
    demonstrations: DemonstrationEncoder | None = None


def build_context(config: Config, note: Callable[[str], None]) -> TrainingContext:
    """Builds the context, cheap components first, so that mistakes show before a large model is loaded.

    Args:
        config: the run's configuration.
        note: called with each note for the user.

    Raises:
        UserError: problems, images, model, reward or device are invalid.
    """
    device = _device(config)
    check_memory(config, device)
    reward = config.worker.reward
    rewards = RewardManager(
        reward.reward_function,
        dict(reward.reward_function_kwargs),
        reward.num_cpus,
        reward.time_limit,
        reward.on_error,
    )
    try:
        data = config.data
        train = None if config.trainer.val_only else load_set(config, data.train_files, data.demonstration_key)
        validation_set = load_set(config, data.val_files) if data.val_files else None
        inputs = load_inputs(config.worker.actor.model)
        encoder = make_encoder(config, inputs.tokenizer, inputs.processor, inputs.family)
        train, validation_set = (
            None if problems is None else screen_set(config, problems, encoder, note)
            for problems in (train, validation_set)
        )
        dtypes = config.worker.actor.fsdp
        policy = Policy.load(config.worker.actor.model, device, dtypes.mp_param_dtype, dtypes.torch_dtype)
        splitter = make_splitter(config.echo.splitter, policy.tokenizer, **config.echo.splitter_kwargs)
        algorithm, demonstrations = make_algorithm(config.algorithm.name, config.algorithm.options), None
        if algorithm.needs_demonstrations and train is not None:
            demonstrations = demonstration_encoder(config, encoder, train[0], policy.end_of_turn)
            train = with_demonstrations(config, train, demonstrations, note)
            check_training_set(config, train, demonstrations, splitter, note)
        check_window(policy, config, added_tokens(config))
        order = None if train is None else _order(train, config)
        steps = 0 if train is None else config.trainer.max_steps or _steps_in_all(train, config)
    except BaseException:
        rewards.close()
        raise
    _note_micro_batch(config, note)
    parameters = sum(p.numel() for p in policy.model.parameters())
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    note(f"{type(policy.network).__name__}, {parameters:,} parameters ({trained:,} trained), on {policy.device}")
    validated = counted(0 if validation_set is None else len(validation_set), "validation problem")
    if train is None:
        note(validated)
    else:
        note(f"{counted(len(train), 'training problem')}, {validated}, {counted(steps, 'step')}")
    return TrainingContext(policy, encoder, train, order, validation_set, rewards, splitter, steps, demonstrations)


def _device(config: Config) -> str:
    device = config.trainer.device
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("trainer.device = cuda: torch finds no GPU on this machine; expected auto or cpu")
    return device


def _note_micro_batch(config: Config, note: Callable[[str], None]) -> None:
    key, actor = "worker.actor.micro_batch_size_per_device_for_update", config.worker.actor
    rollouts = actor.global_batch_size * config.worker.rollout.n
    if actor.micro_batch_size_per_device_for_update > rollouts:
        given = actor.micro_batch_size_per_device_for_update
        note(f"{key} = {given}: reduced to {rollouts}, the size of an optimizer step")


def _order(train: Problems, config: Config) -> BatchOrder:
    """The order of problems, in batches of a step or, under dynamic sampling, of a round."""
    data = config.data
    size, key = data.rollout_batch_size, "data.rollout_batch_size"
    if config.algorithm.online_filtering and data.mini_rollout_batch_size:
        size, key = data.mini_rollout_batch_size, "data.mini_rollout_batch_size"
    return BatchOrder(len(train), size, data.seed, data.shuffle, key)


def _steps_in_all(train: Problems, config: Config) -> int:
    """Steps of all epochs. As in EasyR1, an epoch consists of whole batches of `mini_rollout_batch_size`, if set."""
    batch = config.data.mini_rollout_batch_size or 1
    steps = len(train) // batch * batch // config.data.rollout_batch_size
    if not steps:
        raise UserError(
            f"{train.source}: {counted(len(train), 'problem')}, but data.rollout_batch_size is "
            f"{config.data.rollout_batch_size}, so an epoch has no step; use more problems, or set trainer.max_steps"
        )
    return steps * config.trainer.total_epochs
