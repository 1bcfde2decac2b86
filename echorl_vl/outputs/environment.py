"""The environment of a run, for environment.json: versions, machine, seed and command line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import echorl_vl

_LAST_DIGITS = ("device", "torch_threads", "torch", "transformers")
_PACKAGES = ("torch", "torchvision", "transformers", "peft", "qwen-vl-utils", "numpy")


def describe_environment(device: str, seed: int) -> dict[str, Any]:
    """Versions of Python and the main packages, git commit, platform, device, seed, threads and command."""
    import torch  # here: slow to import, and the commands that only read a run don't need it

    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.orig_argv),
        "seed": seed,
        "device": device,
        "echorl_vl": echorl_vl.__version__,
        "git_commit": git_commit(Path(echorl_vl.__file__).resolve().parent),
        "python": platform.python_version(),
        **{name: installed_version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "torch_threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def environment_note(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """A note for a run that resumes in an environment that may round differently; None if nothing changed."""
    changed = [key for key in _LAST_DIGITS if key in before and before[key] != now[key]]
    if not changed:
        return None
    what = ", ".join(f"{key} was {before[key]}, is {now[key]} now" for key in changed)
    return f"{what} (environment.json): the last digits may differ from those of a run that was never stopped"


def git_commit(folder: Path) -> str | None:
    """The git commit of `folder`, with "-dirty" if a tracked file has changed; None outside git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


def installed_version(package: str) -> str | None:
    """The installed version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
