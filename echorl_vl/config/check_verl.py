"""What the verl engine can't do, and the sums that its ranks have to come out even in.

verl's own keys say some of it in other words (see `engines/verl/settings.py`); what they can't say is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .check_easyr1 import long_enough
from .cpu_dry_run import for_dry_run
from .dump import get_value
from .issues import ConfigIssue, at, raise_if_any
from .micro_batches import capped, world_size
from .schema import Config

NOT_TRIED = "engine verl has not been tried with anything else"

ONLY: dict[str, tuple[tuple[Any, ...], str]] = {
    "algorithm.name": (("grpo", "dr_grpo"), "engine verl trains grpo and dr_grpo"),
    "algorithm.adv_estimator": (("grpo",), f"wanted grpo: {NOT_TRIED}"),
    "algorithm.kl_penalty": (("kl", "abs", "mse", "low_var_kl"), "engine verl supports kl, abs, mse, low_var_kl"),
    "data.trace_key": ((None,), "engine verl learns from no expert traces; wanted null"),
    "data.mini_rollout_batch_size": ((None,), "verl samples all prompts of a step at once; wanted null"),
    "data.image_dir": ((None,), "engine verl trains on text: for pictures take engine = easyr1"),
    "worker.hybrid_engine": ((True,), "engine verl supports true"),
    "worker.actor.strategy": (("fsdp", "fsdp2"), "engine verl supports fsdp2 (fsdp means the same here)"),
    "worker.actor.loss_type": (("default",), f"wanted default: {NOT_TRIED}"),
    "worker.actor.ulysses_size": ((1,), f"wanted 1: {NOT_TRIED}"),
    "worker.actor.model.lora.rank": ((0,), f"wanted 0 (no adapters): {NOT_TRIED}"),
    "worker.actor.model.freeze_vision_tower": ((False,), "engine verl trains on text: there is no vision tower"),
    "worker.actor.optim.strategy": (("adamw",), "engine verl supports adamw"),
    "worker.actor.optim.lr_scheduler_type": (("constant", "cosine"), "engine verl supports constant, cosine"),
    "worker.actor.fsdp.use_orig_params": ((False,), "FSDP2 has no such switch; wanted false"),
    "worker.ref.strategy": (("fsdp", "fsdp2"), "engine verl supports fsdp2 (fsdp means the same here)"),
    "worker.ref.fsdp.use_orig_params": ((False,), "FSDP2 has no such switch; wanted false"),
    "worker.rollout.name": (("vllm",), "engine verl samples with vllm"),
    "worker.rollout.limit_images": ((0,), "engine verl trains on text; wanted 0"),
    "trainer.critic_warmup": ((0,), "engine verl is set up without a critic; wanted 0"),
    "echo.entropy_temperature": ((None,), "verl's entropies are at the rollout's temperature; wanted null"),
    "echo.log_grad_share": ((False,), "engine verl measures no gradient norms of single terms; wanted false"),
}
"""Key -> the values that can be had, and what an error says."""

VALIDATION_KEYS = ("n", "temperature", "top_p", "top_k")


def verl_issues(config: Config) -> list[ConfigIssue]:
    """What verl could not run, or would run differently from what the configuration says."""
    if config.trainer.device == "cpu":
        config, _ = for_dry_run(config)
    config, _ = capped(config)
    return [*_refused(config), *_sets(config), *_kl(config), *_filtering(config), *_ranks(config), *long_enough(config)]


def check_verl(config: Config) -> None:
    """Raises UserError with everything in `config` that the verl engine does not do."""
    raise_if_any(verl_issues(config))


def _problem(config: Config, key: str, wanted: str, *more: str) -> ConfigIssue:
    return ConfigIssue((key, *more), f"{at(config, key)}: {wanted}")


def _refused(config: Config) -> Iterator[ConfigIssue]:
    for key, (accepted, wanted) in ONLY.items():
        if get_value(config, key) not in accepted:
            yield _problem(config, key, wanted)
    key = "worker.rollout.val_override_config"
    if unknown := [name for name in get_value(config, key) if name not in VALIDATION_KEYS]:
        yield _problem(config, key, f"verl's validation has no {unknown[0]}; wanted {', '.join(VALIDATION_KEYS)}")


def _sets(config: Config) -> Iterator[ConfigIssue]:
    if not config.data.train_files:
        yield _problem(config, "data.train_files", "engine verl opens a training set for trainer.val_only as well")
    trainer = config.trainer
    if trainer.val_only and not trainer.val_before_train:
        wanted = "wanted true with trainer.val_only, which verl looks at in that validation alone"
        yield _problem(config, "trainer.val_before_train", wanted, "trainer.val_only")


def _kl(config: Config) -> Iterator[ConfigIssue]:
    algorithm = config.algorithm
    if algorithm.use_kl_loss and not algorithm.disable_kl and algorithm.kl_type == "adaptive":
        wanted = "verl's KL loss has a fixed weight; wanted fixed with algorithm.use_kl_loss = true"
        yield _problem(config, "algorithm.kl_type", wanted, "algorithm.use_kl_loss")


def _filtering(config: Config) -> Iterator[ConfigIssue]:
    """verl drops the groups whose rollouts all have the same value, where our keys name bounds of a group's mean."""
    algorithm = config.algorithm
    if not algorithm.online_filtering:
        return
    why = "verl drops the groups that are all right or all wrong"
    if algorithm.filter_key != "accuracy":
        yield _problem(config, "algorithm.filter_key", f"{why}; wanted accuracy")
    least = 1 / config.worker.rollout.n
    if not 0 <= algorithm.filter_low < least:
        yield _problem(config, "algorithm.filter_low", f"{why}; wanted at least 0 and below {least:g}")
    if not 1 - least < algorithm.filter_high <= 1:
        yield _problem(config, "algorithm.filter_high", f"{why}; wanted above {1 - least:g} and at most 1")


def _ranks(config: Config) -> Iterator[ConfigIssue]:
    world, n = world_size(config), config.worker.rollout.n
    gpus = f"{world} GPUs (trainer.nnodes = {config.trainer.nnodes} times n_gpus_per_node)"
    if world % config.worker.rollout.tensor_parallel_size:
        key = "worker.rollout.tensor_parallel_size"
        yield _problem(config, key, f"wanted a divisor of {gpus}", "trainer.nnodes", "trainer.n_gpus_per_node")
    size = config.worker.actor.fsdp.fsdp_size
    if 0 < size < world and world % size:
        yield _problem(config, "worker.actor.fsdp.fsdp_size", f"wanted -1 or a divisor of {gpus}")
    rows, key = config.worker.actor.global_batch_size * n, "worker.actor.global_batch_size"
    if rows % world:
        wanted = f"times worker.rollout.n = {n} makes {rows} rollouts; wanted a multiple of {gpus}"
        yield _problem(config, key, wanted, "worker.rollout.n")
        return
    update = "worker.actor.micro_batch_size_per_device_for_update"
    if not config.worker.actor.dynamic_batching and (rows // world) % get_value(config, update):
        wanted = f"wanted a divisor of {rows // world}, the rollouts of one rank in an optimizer step"
        yield _problem(config, update, wanted, key, "worker.rollout.n")
    experience = "worker.actor.micro_batch_size_per_device_for_experience"
    per_rank = config.data.rollout_batch_size * n // world
    if not config.worker.actor.dynamic_batching and per_rank % get_value(config, experience):
        wanted = f"wanted a divisor of {per_rank}, the rollouts of one rank, without dynamic_batching"
        yield _problem(config, experience, wanted, "data.rollout_batch_size", "worker.rollout.n")
