"""What the EasyR1 engine can't do, and the sums that its ranks have to come out even in.

EasyR1 finds most of these itself, minutes later, in a worker's traceback; a remainder in a batch it finds not at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from echorl_vl.algorithms import Capability

from .check import algorithm_issues
from .cpu_dry_run import for_dry_run
from .dump import get_value
from .issues import ConfigIssue, at, raise_if_any
from .micro_batches import capped, data_ranks, trained_roles, world_size
from .schema import Config

OFFERED = frozenset({Capability.OFF_POLICY_ROWS})
"""What a base algorithm may ask of this engine (`algorithms.base`)."""


def easyr1_issues(config: Config) -> list[ConfigIssue]:
    """What EasyR1 could not run, or would run differently from what the configuration says."""
    if config.trainer.device == "cpu":
        config, _ = for_dry_run(config)
    config, _ = capped(config)
    return [
        *algorithm_issues(config, "easyr1", OFFERED),
        *_refused(config),
        *_ranks(config),
        *_batches(config),
        *_sampler(config),
        *_filtering(config),
    ]


def check_easyr1(config: Config) -> None:
    """Raises UserError with everything in `config` that the EasyR1 engine does not do."""
    raise_if_any(easyr1_issues(config))


def _problem(config: Config, key: str, wanted: str, *more: str) -> ConfigIssue:
    return ConfigIssue((key, *more), f"{at(config, key)}: {wanted}")


def _refused(config: Config) -> Iterator[ConfigIssue]:
    for role in trained_roles(config):
        key = f"worker.{role}.optim.lr_scheduler_type"
        if get_value(config, key) == "linear":
            yield _problem(config, key, "engine easyr1 supports constant, cosine")
        key = f"worker.{role}.strategy"
        if get_value(config, key) != "fsdp":
            yield _problem(config, key, "engine easyr1 supports fsdp")
    if not config.worker.hybrid_engine:
        yield _problem(config, "worker.hybrid_engine", "engine easyr1 supports true")
    if not config.data.val_files:
        wanted = "wanted a set of problems: engine easyr1 always validates after the last step"
        yield _problem(config, "data.val_files", wanted)
    if config.algorithm.adv_estimator == "remax":
        why = "EasyR1's remax multiplies (B,) with (B, T) and fails; engine easyr1 supports the other estimators"
        yield _problem(config, "algorithm.adv_estimator", why)
    if config.trainer.val_only and not config.trainer.val_before_train:
        wanted = "wanted true with trainer.val_only, which EasyR1 looks at in that validation alone"
        yield _problem(config, "trainer.val_before_train", wanted, "trainer.val_only")
    if not config.data.train_files:
        yield _problem(config, "data.train_files", "engine easyr1 opens a training set for trainer.val_only as well")
    if config.algorithm.kl_penalty == "full" and not config.algorithm.disable_kl:
        yield _problem(config, "algorithm.kl_penalty", "engine easyr1 supports kl, abs, mse, low_var_kl")
    if not config.algorithm.norm_adv_by_std_in_grpo and config.algorithm.adv_estimator != "grpo":
        key = "algorithm.norm_adv_by_std_in_grpo"
        yield _problem(config, key, "false goes with algorithm.adv_estimator = grpo", "algorithm.adv_estimator")


def _ranks(config: Config) -> Iterator[ConfigIssue]:
    world = world_size(config)
    gpus = f"{world} GPUs (trainer.nnodes = {config.trainer.nnodes} times n_gpus_per_node)"
    for key in ("worker.rollout.tensor_parallel_size", "worker.actor.ulysses_size"):
        if world % get_value(config, key):
            yield _problem(config, key, f"wanted a divisor of {gpus}", "trainer.nnodes", "trainer.n_gpus_per_node")
    size = config.worker.actor.fsdp.fsdp_size
    if 0 < size < world and world % size:
        yield _problem(config, "worker.actor.fsdp.fsdp_size", f"wanted -1 or a divisor of {gpus}")
    prompts = "data.mini_rollout_batch_size" if config.data.mini_rollout_batch_size else "data.rollout_batch_size"
    if get_value(config, prompts) % world:
        yield _problem(config, prompts, f"wanted a multiple of {gpus}, which sample them in equal shares")


def _batches(config: Config) -> Iterator[ConfigIssue]:
    world, n, rollouts = world_size(config), config.worker.rollout.n, config.data.rollout_batch_size
    for role in trained_roles(config):
        section, ranks = get_value(config, f"worker.{role}"), data_ranks(config, role)
        batch_key, prefix = f"worker.{role}.global_batch_size", f"worker.{role}.micro_batch_size_per_device_for"
        rows = section.global_batch_size * n
        if rows % ranks:
            wanted = f"times worker.rollout.n = {n} makes {rows} rollouts; wanted a multiple of the {ranks} data ranks"
            yield _problem(config, batch_key, wanted, "worker.rollout.n")
            continue
        update, experience = f"{prefix}_update", f"{prefix}_experience"
        if (rows // ranks) % get_value(config, update) and rows % get_value(config, update) == 0:  # else: said already
            wanted = f"wanted a divisor of {rows // ranks}, the rollouts of one rank in an optimizer step"
            yield _problem(config, update, wanted, batch_key, "worker.rollout.n")
        elif section.fsdp.enable_cpu_offload and rows // ranks != get_value(config, update):
            wanted = f"wanted {rows // ranks}: fsdp.enable_cpu_offload does not go with several micro-batches"
            yield _problem(config, update, wanted, batch_key)
        per_rank = rollouts * n // ranks
        if not section.dynamic_batching and rollouts * n % ranks == 0 and per_rank % get_value(config, experience):
            wanted = f"wanted a divisor of {per_rank}, the rollouts of one rank, without dynamic_batching"
            yield _problem(config, experience, wanted, "data.rollout_batch_size", "worker.rollout.n")
        elif rollouts * n % get_value(config, experience):
            wanted = f"wanted a divisor of {rollouts * n}, which is data.rollout_batch_size times worker.rollout.n"
            yield _problem(config, experience, wanted, "data.rollout_batch_size", "worker.rollout.n")
        if rollouts * n % world:
            wanted = f"times worker.rollout.n = {n} makes {rollouts * n} rollouts; wanted a multiple of {world} GPUs"
            yield _problem(config, "data.rollout_batch_size", wanted, "worker.rollout.n")


def long_enough(config: Config) -> Iterator[ConfigIssue]:
    """vLLM's limits that a prompt with its response would exceed."""
    lengths = "data.max_prompt_length + data.max_response_length"
    longest = config.data.max_prompt_length + config.data.max_response_length
    for key in ("worker.rollout.max_num_batched_tokens", "worker.rollout.max_model_len"):
        value = get_value(config, key)
        if value is not None and value < longest:
            yield _problem(config, key, f"wanted at least {longest}, which is {lengths}")


def _sampler(config: Config) -> Iterator[ConfigIssue]:
    yield from long_enough(config)
    if config.worker.rollout.name != "vllm":
        yield _problem(config, "worker.rollout.name", "engine easyr1 samples with vllm")


def _filtering(config: Config) -> Iterator[ConfigIssue]:
    """EasyR1's default `filter_key: overall` keeps a group that is all right and badly formatted: its mean is 0.9."""
    algorithm = config.algorithm
    if algorithm.online_filtering and algorithm.dynamic_sampling == "echo" and algorithm.filter_key != "accuracy":
        wanted = "wanted accuracy with algorithm.dynamic_sampling = echo, which keeps the groups that are all right"
        yield _problem(config, "algorithm.filter_key", wanted, "algorithm.dynamic_sampling")
