"""Configuration checks shared by the engines on Ray."""

from __future__ import annotations

from collections.abc import Iterator

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.dump import get_value
from echorl_vl.config.issues import issue_at
from echorl_vl.engines.ray.adjusted import world_size


def gpus(config: Config) -> str:
    """The number of GPUs as text for an error message."""
    return f"{world_size(config)} GPUs (trainer.nnodes = {config.trainer.nnodes} times n_gpus_per_node)"


def rank_issues(config: Config, *divisors: str) -> Iterator[ConfigIssue]:
    """Sizes of GPU groups that don't divide the number of GPUs: those of the keys `divisors`, and FSDP's."""
    world = world_size(config)
    for key in divisors:
        if world % get_value(config, key):
            expected = f"expected a divisor of {gpus(config)}"
            yield issue_at(config, key, expected, "trainer.nnodes", "trainer.n_gpus_per_node")
    size = config.worker.actor.fsdp.fsdp_size
    if 0 < size < world and world % size:
        yield issue_at(config, "worker.actor.fsdp.fsdp_size", f"expected -1 or a divisor of {gpus(config)}")


def set_issues(config: Config, host: str) -> Iterator[ConfigIssue]:
    """Settings of problem sets and validation that the host requires."""
    trainer = config.trainer
    if not config.data.train_files:
        yield issue_at(config, "data.train_files", f"{host} needs a training set for trainer.val_only too")
    if trainer.val_only and not trainer.val_before_train:
        expected = f"expected true with trainer.val_only: {host} validates before the first step only"
        yield issue_at(config, "trainer.val_before_train", expected, "trainer.val_only")


def length_issues(config: Config) -> Iterator[ConfigIssue]:
    """Limits of vLLM that are below the longest prompt plus response."""
    lengths = "data.max_prompt_length + data.max_response_length"
    longest = config.data.max_prompt_length + config.data.max_response_length
    for key in ("worker.rollout.max_num_batched_tokens", "worker.rollout.max_model_len"):
        value = get_value(config, key)
        if value is not None and value < longest:
            yield issue_at(config, key, f"expected at least {longest} = {lengths}")
