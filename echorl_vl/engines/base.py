"""The interface of an engine, and the registry of engines.

To add an engine, write `engines/NAME/engine.py` with a subclass of `Engine` decorated with `@register`. That module is
imported whenever a configuration is read, so it must not import heavy packages; `run` and other methods import them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from echorl_vl.algorithms import ALGORITHMS, Capability
from echorl_vl.config import ENGINES, Config, ConfigIssue
from echorl_vl.config.dump import get_value
from echorl_vl.config.issues import issue_at, raise_if_any
from echorl_vl.engines.general_issues import general_issues

if TYPE_CHECKING:
    from echorl_vl.core import Splitter
    from echorl_vl.data.demonstrations import DemonstrationEncoder
    from echorl_vl.data.problem import Problems
    from echorl_vl.engines.resources import Machine

Accepted = Mapping[str, tuple[tuple[Any, ...], str]]
"""Key -> the values (for a list: the members) that an engine supports, and the text of the error for others."""


@dataclass(frozen=True)
class KeyNames:
    """The names that an engine's framework has for keys of the schema.

    Attributes:
        derived: key that the framework accepts and sets itself -> the key that it takes the value from.
        renamed: a key, or its last part -> the key here, or its last parts, where spelling would not lead there.
        gone: last part of a key that has no counterpart -> what the error says.
        refused: key -> a value with another meaning in the framework, and why it is refused here.
    """

    derived: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, tuple[object, str]] = field(default_factory=dict)


class Engine(ABC):
    """Carries out a training run as configured. Subclasses are registered with `@register` and have no state.

    Attributes:
        name: its value of the key `engine`.
        summary: a line for `--help`.
        capabilities: what algorithms may need of it (`Algorithm.needs`).
        accepts: the supported values of keys of which it does not support all.
        ignores: patterns of keys that have no effect on its runs (`worker.critic.*`).
        key_names: its framework's names of keys.
        auto_order: its rank in `engine: auto`, lowest first; None if it is chosen by name only.
        many_gpus: whether it can shard a model over several GPUs.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    accepts: ClassVar[Accepted] = {}
    ignores: ClassVar[Collection[str]] = ()
    key_names: ClassVar[KeyNames] = KeyNames()
    auto_order: ClassVar[int | None] = None
    many_gpus: ClassVar[bool] = False

    @abstractmethod
    def run(self, config: Config) -> int:
        """Trains.

        Returns:
            The exit status: 0, or 130 if the user stopped the run.

        Raises:
            UserError: the user has to change the configuration, the environment, the model, the data or the disk.
        """

    @staticmethod
    def general_issues(config: Config) -> list[ConfigIssue]:
        """The keys whose values no engine supports."""
        return general_issues(config)

    def issues(self, config: Config) -> list[ConfigIssue]:
        """The keys whose values this engine does not support."""
        return [*self._missing_capabilities(config), *self._values(config)]

    def check(self, config: Config) -> None:
        """Checks a configuration.

        Raises:
            UserError: lists all `issues`.
        """
        raise_if_any(self.issues(config))

    def _missing_capabilities(self, config: Config) -> Iterator[ConfigIssue]:
        needs, key = ALGORITHMS[config.algorithm.name].needs, "algorithm.name"
        if missing := sorted(need.value for need in needs - self.capabilities):
            others = [name for name, engine in ENGINES.items() if needs <= engine.capabilities]
            having = f"engine {' or '.join(others)} does" if others else "no engine does"
            what = f"it needs {' and '.join(missing)}, which engine {self.name} does not support; {having}"
            yield issue_at(config, key, what)

    def _values(self, config: Config) -> Iterator[ConfigIssue]:
        for key, (accepted, why) in self.accepts.items():
            value = get_value(config, key)
            if not set(value if isinstance(value, tuple) else [value]) <= set(accepted):
                yield issue_at(config, key, why)

    def is_installed(self) -> bool:
        """Whether its host framework, if it has one, is installed. Does not import it."""
        return True

    def suits(self, config: Config) -> tuple[bool, str]:
        """Whether `engine: auto` chooses this engine on this machine, and the reason."""
        return True, f"engine {self.name} runs anywhere"

    def fault_of_fallback(self, config: Config, taken: Engine) -> str | None:
        """Why the engine `taken`, which `engine: auto` chose instead of this one, should not train the configuration.

        Returns:
            An error message; None if `taken` may train it.
        """
        return None

    def inputs(self, config: Config) -> list[str]:
        """The keys of the models and problem sets that a run reads."""
        names = ("model_path", "tokenizer_path")
        models = [f"worker.{role}.model.{name}" for role in config.algorithm.trained_roles for name in names]
        return [*models, "data.train_files", "data.val_files"]

    def size_issues(self, config: Config, parameters: int) -> Iterator[ConfigIssue]:
        """Checks, before a model of the hub is downloaded, whether it is too large for this machine."""
        return iter(())

    def check_demonstrations(
        self,
        config: Config,
        train: Problems,
        demonstrations: DemonstrationEncoder,
        splitter: Splitter,
        note: Callable[[str], None],
    ) -> None:
        """Checks that the algorithm can learn from a training set.

        Args:
            config: the run's configuration.
            train: the training set.
            demonstrations: encodes its demonstrations.
            splitter: splits responses into reasoning steps.
            note: called with each note for the user.

        Raises:
            UserError: the algorithm can't learn from the set.
        """
        return None

    def memory_warnings(self, config: Config, machine: Machine, parameters: int, needed: int) -> Iterator[str]:
        """Warnings of `--dry-run` about a model that does not fit into memory.

        Args:
            config: the run's configuration.
            machine: this machine.
            parameters: number of parameters of the model.
            needed: bytes of weights, gradients and optimizer.
        """
        return iter(())

    def check_environment(self, cpu: bool = False) -> Iterator[str]:
        """Checks the environment.

        Args:
            cpu: whether to check for a CPU dry run.

        Yields:
            A line for each check: what a run needs, and what the environment has.

        Raises:
            UserError: a run could not start.
        """
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        yield f"torch {torch.__version__}, {gpus} GPUs"


def register(cls: type[Engine]) -> type[Engine]:
    """Registers an engine, a class decorator."""
    if cls.name in ENGINES:
        raise ValueError(f"two engines are called {cls.name!r}: {type(ENGINES[cls.name]).__name__} and {cls.__name__}")
    ENGINES[cls.name] = cls()
    return cls


def engines_on_many_gpus() -> str:
    """The engines that can shard a model over several GPUs, for messages: "engine=easyr1 or verl"."""
    return f"engine={' or '.join(name for name, engine in ENGINES.items() if engine.many_gpus)}"
