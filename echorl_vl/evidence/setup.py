"""The setup of experiments: task, configuration, problem sets, seeds, and sizes of measurements."""

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
    """A configuration, the problem sets for tests, and the seconds per training step on two CPU cores."""

    config: str
    splits: Mapping[str, str]
    step_seconds: float | None = None


def _generated(name: str, config: str, step_seconds: float) -> Task:
    splits = {split: f"generated/{name}@{split}" for split in ("test", "ood_kinds", "ood_sizes")}
    return Task(config, splits, step_seconds)


# Seconds per step as in the README: 150 steps on images take 4.9 minutes, 120 on text less than three.
TASKS = {
    "pictures": _generated("geometry3k", "configs/geo3k_tiny.yaml", 2.0),
    "text": _generated("arithmetic", "configs/math_tiny.yaml", 1.4),
}

# Keys that the experiments set; a value from the user would be overwritten or would invalidate the comparison.
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
    """The setup of all experiments on one task.

    Attributes:
        task: name of the task, for file names.
        config: path of the configuration.
        overrides: the user's configuration keys.
        splits: name -> problem set; the first is in the training domain.
        seeds: seeds of the training runs.
        samples: responses to each test problem.
        problems: limit on the problems of a measurement; None for each measurement's own number.
        step_seconds: estimated seconds per training step on two CPU cores.
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
        """The configuration with the user's keys."""
        return self.load({})

    def load(self, own: Mapping[str, str]) -> Config:
        """Load the configuration with the user's keys and those of an experiment, which take precedence."""
        return load_config(self.config, self.arguments(own))

    def arguments(self, own: Mapping[str, str]) -> list[str]:
        """Return the user's and the experiment's keys as arguments of the command line."""
        return [f"{key}={value}" for key, value in {**self.overrides, **own}.items()]

    @property
    def is_task(self) -> bool:
        """Whether this is one of `TASKS`, and not a configuration of the user."""
        return self.task in TASKS and Path(self.config).name == Path(TASKS[self.task].config).name

    @property
    def steps(self) -> int:
        return self.base.trainer.max_steps

    @property
    def rollout_budget(self) -> int:
        """Rollout budget of a run: that of `trainer.max_steps` steps without dynamic sampling."""
        return self.steps * self.base.data.rollout_batch_size * self.base.worker.rollout.n

    @property
    def coef(self) -> float:
        """Lambda of the runs with EchoRL."""
        return self.base.echo.coef

    @property
    def demonstration_key(self) -> str:
        """The column of demonstrations. Raises UserError if the configuration does not name one."""
        key = self.base.data.demonstration_key or ("solution" if self.is_task else None)
        if key is None:
            raise UserError(
                f"{self.config}, data.demonstration_key: expected a column, got nothing; the experiment 'traces' and "
                "the algorithms 'luffy' and 'uft' need demonstrations"
            )
        return key

    def check(self) -> None:
        """Raise UserError for a configuration that the experiments can't use."""
        if not self.steps:
            raise UserError(f"{self.config}, trainer.max_steps: expected a number of steps, got nothing")
        if not self.coef:
            raise UserError(
                "echo.coef: expected the weight of the runs with EchoRL, got 0; the experiments add the runs without it"
            )
        if not self.splits:
            raise UserError(f"{self.config}, data.val_files: expected a problem set, got nothing; give --test NAME=SET")


def make_setup(
    task: str | None,
    config: str | None,
    overrides: Sequence[str],
    splits: Sequence[str] = (),
    **sizes,
) -> Setup:
    """Make a checked Setup from the command line.

    Args:
        task: a name in `TASKS`.
        config: another configuration instead of a task; its test problems are data.val_files.
        overrides: `key=value` words.
        splits: `name=problem set` words, instead of the default test problems.
        sizes: `seeds`, `samples` and `problems` of the Setup.

    Raises:
        UserError: a key is set by the experiments, a word has no "=", or the configuration is invalid.
    """
    keys = _pairs(overrides, "key=value")
    for key in keys:
        if key in RESERVED:
            raise UserError(f"{key} is set by the experiments and can't be overridden")
    if config is None:
        chosen, name = TASKS[task or "pictures"], task or "pictures"
        path = next((str(file) for file in (Path(chosen.config), REPOSITORY / chosen.config) if file.is_file()), None)
        if path is None:
            raise UserError(f"{chosen.config} not found: run tasks in a checkout of this project, or give --config")
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
            raise UserError(f"expected {expected}, got {argument!r}")
        pairs[key] = value
    return pairs
