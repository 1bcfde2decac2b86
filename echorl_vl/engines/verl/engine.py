"""The engine `verl`, and the checks of its configuration.

`settings` translates keys to verl's; values that verl has no counterpart for are refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.dump import get_value
from echorl_vl.config.issues import issue_at
from echorl_vl.engines.base import register
from echorl_vl.engines.ray.adjusted import world_size
from echorl_vl.engines.ray.base import RayEngine
from echorl_vl.engines.ray.checkpoints import is_whole, newest_whole
from echorl_vl.engines.ray.checks import gpus, length_issues, rank_issues, set_issues
from echorl_vl.engines.resources import read_model_config
from echorl_vl.engines.verl.dry_run import ENVIRONMENT
from echorl_vl.engines.verl.hooks import HOST
from echorl_vl.engines.verl.names import KEY_NAMES
from echorl_vl.engines.verl.settings import LAST_OF_A_CHECKPOINT, NO_EFFECT

UNTESTED = "engine verl is not tested with other values"

ACCEPTS: dict[str, tuple[tuple[Any, ...], str]] = {
    "algorithm.adv_estimator": (("grpo",), f"expected grpo: {UNTESTED}"),
    "algorithm.kl_penalty": (("kl", "abs", "mse", "low_var_kl"), "engine verl supports kl, abs, mse, low_var_kl"),
    "data.demonstration_key": ((None,), "engine verl does not train on demonstrations; expected null"),
    "data.mini_rollout_batch_size": ((None,), "verl samples all prompts of a step at once; expected null"),
    "data.image_dir": ((None,), "engine verl trains on text; expected null, or engine = easyr1"),
    "worker.hybrid_engine": ((True,), "engine verl supports true"),
    "worker.actor.strategy": (("fsdp", "fsdp2"), "engine verl supports fsdp2 (fsdp means the same here)"),
    "worker.actor.loss_type": (("default",), f"expected default: {UNTESTED}"),
    "worker.actor.ulysses_size": ((1,), f"expected 1: {UNTESTED}"),
    "worker.actor.model.lora.rank": ((0,), f"expected 0 (no adapters): {UNTESTED}"),
    "worker.actor.model.freeze_vision_tower": (
        (False,),
        "engine verl trains on text, without a vision tower; expected false",
    ),
    "worker.actor.optim.strategy": (("adamw",), "engine verl supports adamw"),
    "worker.actor.optim.lr_scheduler_type": (("constant", "cosine"), "engine verl supports constant, cosine"),
    "worker.actor.fsdp.use_orig_params": ((False,), "FSDP2 has no such switch; expected false"),
    "worker.ref.strategy": (("fsdp", "fsdp2"), "engine verl supports fsdp2 (fsdp means the same here)"),
    "worker.ref.fsdp.use_orig_params": ((False,), "FSDP2 has no such switch; expected false"),
    "worker.rollout.name": (("vllm",), "engine verl samples with vllm"),
    "worker.rollout.limit_images": ((0,), "engine verl trains on text; expected 0"),
    "trainer.critic_warmup": ((0,), "engine verl has no critic; expected 0"),
    "echo.entropy_temperature": ((None,), "verl's entropies are at the rollout's temperature; expected null"),
    "echo.log_grad_share": ((False,), "engine verl does not measure gradient norms of single terms; expected false"),
}
"""Key -> the supported values, and the text of the error."""

SMALLER = "or worker.actor.fsdp.enable_cpu_offload=true"
"""Settings that reduce memory."""

VALIDATION_KEYS = ("n", "temperature", "top_p", "top_k")


@register
class VerlEngine(RayEngine):
    name = "verl"
    summary = "verl: Ray, FSDP2 and vLLM, text only, on one GPU or many"
    accepts = ACCEPTS
    ignores = NO_EFFECT
    key_names = KEY_NAMES
    host = HOST
    smaller = SMALLER
    environment = ENVIRONMENT
    newest_checkpoint = staticmethod(partial(newest_whole, last=LAST_OF_A_CHECKPOINT))

    def own_issues(self, config: Config) -> list[ConfigIssue]:
        return [
            *_validation(config),
            *set_issues(config, "verl"),
            *_kl(config),
            *_filtering(config),
            *_ranks(config),
            *length_issues(config),
        ]

    def model_issues(self, config: Config) -> Iterator[ConfigIssue]:
        return _model(config)


def _validation(config: Config) -> Iterator[ConfigIssue]:
    key = "worker.rollout.val_override_config"
    if unknown := [name for name in get_value(config, key) if name not in VALIDATION_KEYS]:
        yield issue_at(config, key, f"verl's validation has no {unknown[0]}; expected {', '.join(VALIDATION_KEYS)}")


def _kl(config: Config) -> Iterator[ConfigIssue]:
    algorithm = config.algorithm
    if algorithm.use_kl_loss and not algorithm.disable_kl and algorithm.kl_type == "adaptive":
        expected = "verl's KL loss has a fixed weight; expected fixed with algorithm.use_kl_loss = true"
        yield issue_at(config, "algorithm.kl_type", expected, "algorithm.use_kl_loss")


def _filtering(config: Config) -> Iterator[ConfigIssue]:
    """verl drops groups whose rollouts all have the same value; our keys are bounds of a group's mean."""
    algorithm = config.algorithm
    if not algorithm.online_filtering:
        return
    why = "verl drops the groups that are all correct or all incorrect"
    if algorithm.filter_key != "accuracy":
        yield issue_at(config, "algorithm.filter_key", f"{why}; expected accuracy")
    least = 1 / config.worker.rollout.n
    if not 0 <= algorithm.filter_low < least:
        yield issue_at(config, "algorithm.filter_low", f"{why}; expected at least 0 and below {least:g}")
    if not 1 - least < algorithm.filter_high <= 1:
        yield issue_at(config, "algorithm.filter_high", f"{why}; expected above {1 - least:g} and at most 1")


def _ranks(config: Config) -> Iterator[ConfigIssue]:
    yield from rank_issues(config, "worker.rollout.tensor_parallel_size")
    world, n = world_size(config), config.worker.rollout.n
    rows, key = config.worker.actor.global_batch_size * n, "worker.actor.global_batch_size"
    if rows % world:
        expected = f"times worker.rollout.n = {n} makes {rows} rollouts; expected a multiple of {gpus(config)}"
        yield issue_at(config, key, expected, "worker.rollout.n")
        return
    update = "worker.actor.micro_batch_size_per_device_for_update"
    if not config.worker.actor.dynamic_batching and (rows // world) % get_value(config, update):
        expected = f"expected a divisor of {rows // world}, the rollouts of one rank in an optimizer step"
        yield issue_at(config, update, expected, key, "worker.rollout.n")
    experience = "worker.actor.micro_batch_size_per_device_for_experience"
    per_rank = config.data.rollout_batch_size * n // world
    if not config.worker.actor.dynamic_batching and per_rank % get_value(config, experience):
        expected = f"expected a divisor of {per_rank}, the rollouts of one rank, without dynamic_batching"
        yield issue_at(config, experience, expected, "data.rollout_batch_size", "worker.rollout.n")


def _model(config: Config) -> Iterator[ConfigIssue]:
    """Vision models, which are untested on verl, and initial checkpoints that verl can't load."""
    from echorl_vl.models import has_images

    model, key = config.worker.actor.model, "worker.actor.model.model_path"
    if has_images(read_model_config(model)):
        expected = "is a vision model, with which engine verl is not tested; expected a text model, or engine = easyr1"
        yield ConfigIssue((key,), f"{key} = {model.model_path} ({config.origin(key)}): {expected}")
    key, given = "trainer.load_checkpoint_path", config.trainer.load_checkpoint_path
    number = Path(given or "global_step_0").name.removeprefix("global_step_")
    if given and not (number.isdigit() and is_whole(Path(given), LAST_OF_A_CHECKPOINT)):
        expected = "expected a folder global_step_N of this engine, with actor/ (model, optimizer, state) and data.pt"
        yield ConfigIssue((key,), f"{key} = {given} ({config.origin(key)}): {expected}")
