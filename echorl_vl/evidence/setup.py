"""What an evidence run is about: the task, its configuration and problems, the seeds, and how much is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import echorl_vl.engines  # noqa: F401 - registers the engines
from echorl_vl.config import Config, load_config
from echorl_vl.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Task:
    """A configuration, the problem sets that a trained policy is tested on, and a step's seconds on two CPU cores."""

    config: str
    splits: Mapping[str, str]
    step_seconds: float | None = None


def _generated(name: str, config: str, step_seconds: float) -> Task:
    splits = {split: f"generated/{name}@{split}" for split in ("test", "ood_kinds", "ood_sizes")}
    return Task(config, splits, step_seconds)


# Seconds of a step: those of the README (150 steps of pictures in 4.9 minutes, 120 of text in less than three).
TASKS = {
    "pictures": _generated("geometry3k", "configs/geo3k_tiny.yaml", 2.0),
    "text": _generated("arithmetic", "configs/math_tiny.yaml", 1.4),
}

# Keys that the experiments set themselves: a value of the user's would be lost, or would mix up what is compared.
RESERVED = (
    "algorithm.dynamic_sampling",
    "algorithm.keep_all_success_groups",
    "algorithm.name",
    "data.seed",
    "data.val_files",
    "echo.log_grad_share",
    "echo.seed",
    "engine",
    "trainer.load_checkpoint_path",
    "trainer.logger",
    "trainer.max_try_make_batch",
    "trainer.rollout_save_freq",
    "trainer.save_checkpoint_path",
    "trainer.save_freq",
    "trainer.save_limit",
    "trainer.val_before_train",
    "trainer.val_freq",
    "trainer.val_only",
    "worker.rollout.seed",
)


@dataclass(frozen=True)
class Setup:
    """One task as the experiments see it.

    task: its name, for file names. config: path of the configuration. overrides: the user's keys. splits: name ->
    problem set; the first is in the domain of training. samples: responses to each problem when a policy is tested.
    problems: most problems that a measurement takes; None: what each of them takes by itself.
    """

    task: str
    config: str
    splits: Mapping[str, str]
    overrides: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    samples: int = 4
    problems: int | None = None
    step_seconds: float | None = None

    @cached_property
    def base(self) -> Config:
        """The configuration with the user's keys, which every run starts from."""
        return self.load({})

    def load(self, own: Mapping[str, str]) -> Config:
        """The configuration with the user's keys and, over them, those of an experiment."""
        return load_config(self.config, self.arguments(own))

    def arguments(self, own: Mapping[str, str]) -> list[str]:
        """The same as arguments of the command line."""
        return [f"{key}={value}" for key, value in {**self.overrides, **own}.items()]

    @property
    def is_task(self) -> bool:
        """Whether it is one of `TASKS`, and not a configuration of the user's."""
        return self.task in TASKS and Path(self.config).name == Path(TASKS[self.task].config).name

    @property
    def steps(self) -> int:
        return self.base.trainer.max_steps

    @property
    def rollout_budget(self) -> int:
        """Rollouts of a run: what `trainer.max_steps` steps take without any further sampling."""
        return self.steps * self.base.data.rollout_batch_size * self.base.worker.rollout.n

    @property
    def coef(self) -> float:
        """lambda of the runs with EchoRL."""
        return self.base.echo.coef

    @property
    def demonstration_key(self) -> str:
        """The column of worked solutions. Raises UserError where the configuration names none."""
        key = self.base.data.demonstration_key or ("solution" if self.is_task else None)
        if key is None:
            raise UserError(
                f"{self.config}: no column of worked solutions is named, which traces, luffy and uft need; "
                "set data.demonstration_key"
            )
        return key

    def check(self) -> None:
        """Raises UserError for a configuration that the experiments can't work with."""
        if not self.steps:
            raise UserError(f"{self.config}: trainer.max_steps is not set; the experiments need a number of steps")
        if not self.coef:
            raise UserError("echo.coef is 0; expected the weight of the runs with EchoRL, those without are added")
        if not self.splits:
            raise UserError(f"{self.config}: data.val_files is empty; name a problem set to test on: --test NAME=SET")


def make_setup(
    task: str | None,
    config: str | None,
    overrides: Sequence[str],
    splits: Sequence[str] = (),
    **sizes,
) -> Setup:
    """A checked Setup from the command line.

    Args:
        task: a name out of `TASKS`. config: another configuration in its place; its problems are data.val_files.
        overrides: `key=value`. splits: `name=problem set`, in place of the task's own.

    Raises:
        UserError: a key that the experiments set themselves, an argument without "=", or a bad configuration.
    """
    keys = _pairs(overrides, "key=value")
    for key in keys:
        if key in RESERVED:
            raise UserError(f"{key} is set by the experiments; it can't be given")
    if config is None:
        chosen, name = TASKS[task or "pictures"], task or "pictures"
        path = next((str(file) for file in (Path(chosen.config), REPOSITORY / chosen.config) if file.is_file()), None)
        if path is None:
            raise UserError(f"{chosen.config} is in a checkout of this project: run the tasks there, or give --config")
        found = Setup(name, path, chosen.splits, keys, step_seconds=chosen.step_seconds, **sizes)
    else:
        found = Setup(Path(config).stem, config, {}, keys, **sizes)
        own = found.base.data.val_files
        found = Setup(Path(config).stem, config, {"test": own} if own else {}, keys, **sizes)
    if splits:
        found = Setup(
            found.task,
            found.config,
            _pairs(splits, "name=problem set"),
            keys,
            step_seconds=found.step_seconds,
            **sizes,
        )
    found.check()
    return found


def _pairs(arguments: Sequence[str], expected: str) -> dict[str, str]:
    pairs = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise UserError(f"got {argument!r}; expected {expected}")
        pairs[key] = value
    return pairs
