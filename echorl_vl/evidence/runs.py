"""Runs: the trainings and measurements that experiments are made of, each with a hash of the settings that decide it.

Not in the hash: the code with its constants, and what files of data and models hold.

Two experiments that ask for the same settings ask for the same run, which is run once.
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
"""Of what a store holds: counted up where an earlier version's runs would be misread, which are then run again."""

BASE = "grpo"
"""The algorithm of the experiments that are not about algorithms."""

START, BUDGET = "start", "budget"
"""Where along a training a policy is looked at: before its first step, or when the budget of rollouts is used up."""

KEPT = {"last": 1, "stages": 3, "budget": 15}
"""What a run keeps -> the parts that its steps are cut in, with a checkpoint at the end of each.

Its last policy; policies at a few stages; or as many that the one which uses up a budget is among them, nearly.
"""


@dataclass(frozen=True)
class Training:
    """A run of the local engine.

    own: keys that the experiment sets. keep: which checkpoints, of `KEPT`.
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
        """Of the command line, but for the run's folder."""
        return [self.setup.config, *self.setup.arguments(self.own)]


@dataclass(frozen=True)
class Measurement:
    """Numbers of one policy.

    measure: function (probe, seed, **options) -> what JSON can hold; its module and name are a part of the hash.
    training: the run whose policy it is, None for the model that the configuration starts from. at: a checkpoint's
    step, `START`, or `BUDGET`. seconds: a guess of what it takes, on two CPU cores.
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
    """The run of one algorithm with lambda `coef` (None: the setup's) and one seed.

    The seed is that of the problems' order, of the rollouts and of the clips' draw. UFT's hints end at 60 % of the
    steps, as in its paper (300 of 500). The test problems are not looked at: `Measurement`s do that.
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
"""DAPO's sampling as EchoRL wants it, with the echo term or without."""


def filters_groups(name: str) -> bool:
    """Whether an algorithm samples until it has enough groups to learn from, so that its steps cost unlike many."""
    return bool(ALGORITHMS[name].preset.get("algorithm.online_filtering"))


def algorithm_keys(name: str, coef: float, demonstration_key: Callable[[], str]) -> dict[str, str]:
    """Keys that make a run one of an algorithm, with EchoRL (coef > 0) or without.

    DAPO with EchoRL keeps the groups that all succeed. `demonstration_key` gives the column of worked solutions and is
    asked by those alone that learn from them.
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
    """The runs without and with EchoRL that the experiments share, by these names.

    Those of `BASE` keep their stages; with EchoRL its gradient norms are logged apart, which changes no number of it.
    """
    shared = algorithm == BASE
    keep = "stages" if shared else "budget" if filters_groups(algorithm) else "last"
    apart = {"echo.log_grad_share": "true"} if shared else {}
    return {
        "without": train(setup, seed, 0.0, algorithm, keep=keep),
        "with": train(setup, seed, None, algorithm, extra=apart, keep=keep),
    }


def checkpoint_steps(steps: int, keep: str) -> list[int]:
    """Steps at which a run has a checkpoint, in order; the start, 0, has none. A run that was stopped may have more."""
    every = math.ceil(steps / KEPT[keep])
    return sorted({*range(every, steps + 1, every), steps})


def _read_by_measurements(settings: dict[str, Any]) -> dict[str, Any]:
    """How prompts are made, sampled, graded and split into steps: nothing of how the policy is trained."""
    worker, echo = settings["worker"], settings["echo"]
    read = {key: worker[key] for key in ("rollout", "reward")} | {"model": worker["actor"]["model"]}
    steps = {key: echo[key] for key in ("verify_threshold", "splitter", "splitter_kwargs", "entropy_temperature")}
    return {"data": settings["data"], "steps": steps, **read}


def _digest(settings: Mapping[str, Any]) -> str:
    """Ten hex digits; paths below the repository count without it, so that they agree in every checkout."""
    text = json.dumps({"format": FORMAT, **settings}, sort_keys=True, default=str)
    for folder in {str(PACKAGE_HOME), str(Path.cwd())}:
        text = text.replace(f"{folder}/", "")
    return hashlib.sha256(text.encode()).hexdigest()[:10]
