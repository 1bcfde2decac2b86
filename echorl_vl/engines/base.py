"""What an engine is, and the engines by name: one folder each beside this file, found by being there.

To add one, write `engines/NAME/engine.py` with a subclass of `Engine` below `@register`. That module is imported
wherever a configuration is read, so it imports nothing heavy: `run` and the like import what they need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from echorl_vl.algorithms import ALGORITHMS, Capability
from echorl_vl.config import ENGINES, Config, ConfigIssue, KeyNames
from echorl_vl.config.dump import get_value
from echorl_vl.config.issues import issue_at, raise_if_any
from echorl_vl.engines.general_issues import general_issues

if TYPE_CHECKING:
    from echorl_vl.core import Splitter
    from echorl_vl.data.demonstrations import DemonstrationEncoder
    from echorl_vl.data.problem import Problems
    from echorl_vl.engines.resources import Machine

Accepted = Mapping[str, tuple[tuple[Any, ...], str]]
"""Key -> the values of it that an engine can run (of a list: the members), and what an error says of others."""


class Engine(ABC):
    """Trains what a configuration says. Subclasses are registered with `@register` and hold no state.

    name: what `engine:` calls it. summary: a line for `--help`. capabilities: what algorithms may ask of it
    (`Algorithm.needs`). accepts: keys of which it can run some values only. ignores: patterns of keys
    that say nothing about a run of it (`worker.critic.*`). key_names: its framework's names of keys. auto_order: its
    place in the order in which
    `engine: auto` asks the engines; None: it is chosen by name alone. many_gpus: whether it can spread a model over
    several GPUs.
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
        """Trains; returns the exit status: 0 when done, 130 when the user stopped it.

        Raises:
            UserError: something about configuration, versions, machine, model, data or disk that the user can mend.
        """

    @staticmethod
    def general_issues(config: Config) -> list[ConfigIssue]:
        """What no engine could run."""
        return general_issues(config)

    def issues(self, config: Config) -> list[ConfigIssue]:
        """What this engine could not run, or would run differently from what the configuration says."""
        return [*self._missing_capabilities(config), *self._values(config)]

    def check(self, config: Config) -> None:
        """Raises UserError with everything in `config` that this engine does not do."""
        raise_if_any(self.issues(config))

    def _missing_capabilities(self, config: Config) -> Iterator[ConfigIssue]:
        needs, key = ALGORITHMS[config.algorithm.name].needs, "algorithm.name"
        if missing := sorted(need.value for need in needs - self.capabilities):
            others = [name for name, engine in ENGINES.items() if needs <= engine.capabilities]
            having = f"engine {' or '.join(others)} has" if others else "no engine has"
            what = f"it needs {' and '.join(missing)}, which engine {self.name} has not; {having}"
            yield issue_at(config, key, what)

    def _values(self, config: Config) -> Iterator[ConfigIssue]:
        for key, (accepted, why) in self.accepts.items():
            value = get_value(config, key)
            if not set(value if isinstance(value, tuple) else [value]) <= set(accepted):
                yield issue_at(config, key, why)

    def is_installed(self) -> bool:
        """Whether its host framework, if it has one, is in this environment. Imports nothing of it."""
        return True

    def suits(self, config: Config) -> tuple[bool, str]:
        """Whether `engine: auto` takes this engine here, and why or why not."""
        return True, f"engine {self.name} runs anywhere"

    def fault_of_fallback(self, config: Config, taken: Engine) -> str | None:
        """Why a configuration that is made for this engine should not be trained by `taken`, which `auto` took instead.

        None where that is no mistake.
        """
        return None

    def inputs(self, config: Config) -> list[str]:
        """Keys of the models and problem sets that a run reads."""
        names = ("model_path", "tokenizer_path")
        models = [f"worker.{role}.model.{name}" for role in config.algorithm.trained_roles for name in names]
        return [*models, "data.train_files", "data.val_files"]

    def size_issues(self, config: Config, parameters: int) -> Iterator[ConfigIssue]:
        """Whether a model of the hub with this many parameters is too large for this machine, before it is loaded."""
        return iter(())

    def check_demonstrations(
        self,
        config: Config,
        train: Problems,
        demonstrations: DemonstrationEncoder,
        splitter: Splitter,
        note: Callable[[str], None],
    ) -> None:
        """Looks whether the algorithm can learn from a training set; ``note`` takes lines about it, for the user.

        Raises:
            UserError: it can not.
        """
        return None

    def memory_warnings(self, config: Config, machine: Machine, parameters: int, needed: int) -> Iterator[str]:
        """What `--dry-run` says of a model that does not fit; needed: bytes of weights, gradients and optimizer."""
        return iter(())

    def check_environment(self, cpu: bool = False) -> Iterator[str]:
        """Lines about what a run needs and what was found, in the order of the checks; cpu: for a CPU dry run.

        Raises:
            UserError: what keeps a run from starting.
        """
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        yield f"torch {torch.__version__}, {gpus} GPUs"


def register(cls: type[Engine]) -> type[Engine]:
    """Class decorator: makes an engine available as `engine: NAME`."""
    if cls.name in ENGINES:
        raise ValueError(f"two engines are called {cls.name!r}: {type(ENGINES[cls.name]).__name__} and {cls.__name__}")
    ENGINES[cls.name] = cls()
    return cls


def engines_on_many_gpus() -> str:
    """As in "engine=easyr1 or verl": the engines that can spread a model over several GPUs."""
    return f"engine={' or '.join(name for name, engine in ENGINES.items() if engine.many_gpus)}"
