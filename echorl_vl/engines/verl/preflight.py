"""Everything that would stop a run minutes later, found in the first seconds: versions, GPUs, memory, model."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path

from packaging.version import InvalidVersion, Version

from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.issues import raise_if_any
from echorl_vl.engines.ray.resources import gpu_issues, memory_issues, model_issues
from echorl_vl.engines.resources import Machine, read_model_config
from echorl_vl.engines.verl.checkpoints import is_whole
from echorl_vl.engines.verl.engine import SMALLER
from echorl_vl.engines.verl.hooks import check_hooks, check_installed
from echorl_vl.models import has_images

# package: (at least, below, without, why); as verl 0.9.1 declares them
VERSIONS: dict[str, tuple[str, str | None, tuple[str, ...], str]] = {
    "transformers": ("5.5.3", "5.11", ("5.6.0",), "verl's model code"),
    "tensordict": ("0.8", "0.10.1", ("0.9.0",), "verl's batches"),
    "TransferQueue": ("0.1.10", None, (), "verl's V1 trainer; it comes with verl[verl-core]"),
    "ray": ("2.41", None, (), "verl's processes"),
    "hydra-core": ("1.3", None, (), "verl's configuration"),
    "vllm": ("0.24", None, (), "verl's rollouts; it comes with verl[vllm]"),
}
GPU_ONLY = ("vllm",)


def preflight(config: Config, machine: Machine | None = None) -> None:
    """Raises UserError with everything that keeps `config` from running here, but for its data.

    Cheapest first: verl itself, versions, GPUs; then the hooks, which imports verl; then model and memory.
    """
    machine = machine or Machine.here()
    check_installed()
    raise_if_any([*version_issues(config.trainer.device == "cpu"), *gpu_issues(config, machine, "verl")])
    check_hooks()
    raise_if_any([*model_issues(config), *vision_problems(config), *checkpoint_problems(config)])
    raise_if_any(memory_issues(config, machine, SMALLER))


def version_issues(dry_run: bool, installed: Callable[[str], str | None] | None = None) -> Iterator[ConfigIssue]:
    """Packages that are missing or of a version that verl does not run with. `installed`: name -> version or None."""
    installed = installed or _installed
    for name, (least, below, without, why) in VERSIONS.items():
        if dry_run and name in GPU_ONLY:
            continue
        found = installed(name)
        wanted = ",".join([f">={least}", *([f"<{below}"] if below else []), *(f"!={one}" for one in without)])
        if found is None:
            yield ConfigIssue((), f"engine verl needs {name}{wanted} ({why}), which is not installed")
            continue
        try:
            version = Version(found)
        except InvalidVersion:
            continue
        if version < Version(least) or (below and version >= Version(below)) or found in without:
            yield ConfigIssue(
                (), f"engine verl needs {name}{wanted} ({why}); found {found}: pip install '{name}{wanted}'"
            )


def found_versions() -> list[tuple[str, str | None]]:
    """(package, version) of all whose version counts; None for one that is not installed."""
    return [(name, _installed(name)) for name in VERSIONS]


def vision_problems(config: Config) -> Iterator[ConfigIssue]:
    """A vision model: EchoRL with verl has been tried on text only."""
    model, key = config.worker.actor.model, "worker.actor.model.model_path"
    if has_images(read_model_config(model)):
        wanted = "is a vision model, which engine verl has not been tried with; wanted a text model, or engine = easyr1"
        yield ConfigIssue((key,), f"{key} = {model.model_path} ({config.origin(key)}): {wanted}")


def checkpoint_problems(config: Config) -> Iterator[ConfigIssue]:
    """A checkpoint to start from that verl could not load."""
    key, given = "trainer.load_checkpoint_path", config.trainer.load_checkpoint_path
    if not given:
        return
    folder = Path(given)
    if not folder.name.removeprefix("global_step_").isdigit() or not is_whole(folder):
        wanted = "wanted a folder global_step_N of this engine, with actor/ (model, optimizer, state) and data.pt in it"
        yield ConfigIssue((key,), f"{key} = {given} ({config.origin(key)}): {wanted}")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
