"""Runs: the training runs and measurements of experiments, identified by a hash of their settings.

Experiments with the same settings share a run. The hash does not cover the code and its constants, nor the contents of
data and model files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from echorl_vl.algorithms import ALGORITHMS
from echorl_vl.config import config_to_dict
from echorl_vl.evidence.setup import Setup
from echorl_vl.places import PACKAGE_HOME

FORMAT = 2
"""Version of the stored runs. A new number makes the runs of earlier versions be repeated."""

BASE = "grpo"
"""The algorithm of experiments that don't compare algorithms."""

START, BUDGET = "start", "budget"
"""When the policy of a training run is measured: before the first step, and at the end of the rollout budget."""

KEPT = {"last": 1, "stages": 3, "budget": 15}
"""Which checkpoints a run keeps -> their number, at equal distances: the last policy; a few stages; or enough to have
one near the end of the rollout budget."""


@dataclass(frozen=True)
class Training:
    """A training on the local engine.

    Attributes:
        setup: the task.
        label: name of the run, for folders.
        own: configuration keys set by the experiment.
        keep: which checkpoints are kept, a key of `KEPT`.
    """

    setup: Setup
    label: str
    own: Mapping[str, str]
    keep: str = "last"

    @cached_property
    def key(self) -> str:
        settings = config_to_dict(self.setup.load(self.own))
        for name in ("project_name", "experiment_name", "save_checkpoint_path", "logger"):
            settings["trainer"].pop(name, None)
        return _digest({"config": settings})

    @property
    def name(self) -> str:
        return f"{self.setup.task}_{self.label}_{self.key}"

    @property
    def arguments(self) -> list[str]:
        """Arguments of the command line, without the run folder."""
        return [self.setup.config, *self.setup.arguments(self.own)]


@dataclass(frozen=True)
class Measurement:
    """A measurement of one policy.

    Attributes:
        setup: the task.
        measure: function (probe, seed, **options) -> JSON values; its module and name are part of the hash.
        seed: seed of the measurement.
        training: the run with the policy; None for the configuration's initial model.
        at: step of the checkpoint, `START` or `BUDGET`.
        options: further arguments of `measure`.
        seconds: estimated time on two CPU cores.
    """

    setup: Setup
    measure: Callable[..., dict[str, Any]]
    seed: int
    training: Training | None = None
    at: int | str = START
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    @cached_property
    def key(self) -> str:
        policy = None if self.training is None or self.at == START else self.training.key
        settings = {
            "config": _read_by_measurements(config_to_dict(self.setup.base)),
            "measure": f"{self.measure.__module__}.{self.measure.__name__}",
            "policy": policy,
            "at": self.at if policy else START,
            "seed": self.seed,
            "options": dict(self.options),
        }
        if self.at == BUDGET:
            settings["budget"] = self.setup.rollout_budget
        if self.setup.problems is not None:
            settings["problems"] = self.setup.problems
        return _digest(settings)

    @property
    def name(self) -> str:
        start = self.training is None or self.at == START
        where = f"start_seed{self.seed}" if start else f"{self.training.label}_{self.at}"
        return f"{self.setup.task}_{self.measure.__name__}_{where}_{self.key}"


Run = Training | Measurement


def train(
    setup: Setup,
    seed: int,
    coef: float | None = None,
    algorithm: str = BASE,
    variant: str = "",
    extra: Mapping[str, str] | None = None,
    keep: str = "last",
) -> Training:
    """Return the training with one algorithm, lambda and seed.

    UFT's hints end at 60 % of the steps, as in its paper (300 of 500). The run has no validation; `Measurement`s test
    its policies.

    Args:
        setup: the task.
        seed: seed of the order of problems, the rollouts and the choice of clips.
        coef: lambda; None for the configuration's.
        algorithm: name of the base algorithm.
        variant: name of the variant, for the label.
        extra: further configuration keys.
        keep: which checkpoints are kept, a key of `KEPT`.
    """
    coef = setup.coef if coef is None else coef
    steps, number = setup.steps, str(seed)
    own = {
        "engine": "local",
        **algorithm_keys(algorithm, coef, lambda: setup.demonstration_key),
        "echo.seed": number,
        "data.seed": number,
        "worker.rollout.seed": number,
        "data.val_files": "''",
        "trainer.val_freq": "-1",
        "trainer.val_before_train": "false",
        "trainer.save_freq": str(math.ceil(steps / KEPT[keep])),
        "trainer.save_limit": "1" if keep == "last" else "-1",
        "trainer.rollout_save_freq": "0",
        "trainer.logger": "[console, file]",
    }
    kind = variant or ("echo" if coef else "base")
    return Training(setup, f"{algorithm}_{kind}_seed{seed}", own | dict(extra or {}), keep)


KEEPS_GROUPS = {"algorithm.keep_all_success_groups": "true"}
"""Dynamic sampling that keeps all-success groups, which EchoRL learns from."""


def filters_groups(name: str) -> bool:
    """Whether an algorithm samples until it has enough groups to learn from; its steps then differ in rollouts."""
    return bool(ALGORITHMS[name].preset.get("algorithm.online_filtering"))


def algorithm_keys(name: str, coef: float, demonstration_key: Callable[[], str]) -> dict[str, str]:
    """Return the configuration keys of an algorithm with EchoRL (coef > 0) or without.

    DAPO with EchoRL keeps all-success groups.

    Args:
        name: name of the algorithm.
        coef: lambda.
        demonstration_key: returns the column of demonstrations; called only if the algorithm needs them.
    """
    keys = {"algorithm.name": name, "echo.coef": str(coef)}
    if ALGORITHMS[name]().needs_demonstrations:
        keys["data.demonstration_key"] = demonstration_key()
    if filters_groups(name):
        keys["trainer.max_try_make_batch"] = "-1"
        if coef:
            keys |= KEEPS_GROUPS
    return keys


def train_pair(setup: Setup, seed: int, algorithm: str = BASE) -> dict[str, Training]:
    """Return the two training runs shared by the experiments, "without" and "with" EchoRL.

    Those of `BASE` keep a few stages; the one with EchoRL also logs the gradient norm of the echo term, which does not
    change the training.
    """
    shared = algorithm == BASE
    keep = "stages" if shared else "budget" if filters_groups(algorithm) else "last"
    grad_norms = {"echo.log_grad_share": "true"} if shared else {}
    return {
        "without": train(setup, seed, 0.0, algorithm, keep=keep),
        "with": train(setup, seed, None, algorithm, extra=grad_norms, keep=keep),
    }


def checkpoint_steps(steps: int, keep: str) -> list[int]:
    """Return the steps at which a run has a checkpoint. A run that was stopped and resumed may have more."""
    every = math.ceil(steps / KEPT[keep])
    return sorted({*range(every, steps + 1, every), steps})


def _read_by_measurements(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of prompts, sampling, grading and step splitting, without those of the training."""
    worker, echo = settings["worker"], settings["echo"]
    read = {key: worker[key] for key in ("rollout", "reward")} | {"model": worker["actor"]["model"]}
    steps = {key: echo[key] for key in ("verify_threshold", "splitter", "splitter_kwargs", "entropy_temperature")}
    return {"data": settings["data"], "steps": steps, **read}


def _digest(settings: Mapping[str, Any]) -> str:
    """Return ten hex digits. Paths in the repository are made relative, so that all checkouts agree."""
    text = json.dumps({"format": FORMAT, **settings}, sort_keys=True, default=str)
    for folder in {str(PACKAGE_HOME), str(Path.cwd())}:
        text = text.replace(f"{folder}/", "")
    return hashlib.sha256(text.encode()).hexdigest()[:10]
