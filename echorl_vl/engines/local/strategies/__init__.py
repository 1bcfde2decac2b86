"""Rollout strategies: a class for each capability that an algorithm may need of this engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from echorl_vl.algorithms import Algorithm, Capability, make_algorithm
from echorl_vl.config import Config
from echorl_vl.core import Splitter
from echorl_vl.data.demonstrations import DemonstrationEncoder
from echorl_vl.data.problem import Problems
from echorl_vl.engines.local.collect import RolloutCollector, RolloutStrategy
from echorl_vl.engines.local.strategies.dynamic_sampling import DynamicSampling
from echorl_vl.engines.local.strategies.hints import Hints
from echorl_vl.engines.local.strategies.off_policy import DemonstrationsOnly, OffPolicyRows
from echorl_vl.engines.local.strategies.rounds import Rounds
from echorl_vl.engines.local.strategies.sft_steps import SFTSteps

if TYPE_CHECKING:
    from echorl_vl.engines.local.context import TrainingContext

# Each class wraps the next: hints are chosen once for all rounds, and each round has its off-policy rows.
STRATEGIES: dict[Capability, type[RolloutStrategy]] = {
    Capability.SFT_STEPS: SFTSteps,
    Capability.HINTS: Hints,
    Capability.ROUNDS: Rounds,
    Capability.OFF_POLICY_ROWS: OffPolicyRows,
    Capability.NO_ROLLOUTS: DemonstrationsOnly,
}


def strategy_classes(algorithm: Algorithm) -> Iterator[type[RolloutStrategy]]:
    """The strategies that an algorithm needs."""
    return (cls for capability, cls in STRATEGIES.items() if capability in algorithm.needs)


def check_training_set(
    config: Config,
    train: Problems,
    demonstrations: DemonstrationEncoder,
    splitter: Splitter,
    note: Callable[[str], None],
) -> None:
    """Checks that the configured algorithm can learn from a training set.

    Args:
        config: the run's configuration.
        train: the training set.
        demonstrations: encodes its demonstrations.
        splitter: splits responses into reasoning steps.
        note: called with each note for the user.

    Raises:
        UserError: the algorithm can't learn from the set.
    """
    algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)
    for cls in strategy_classes(algorithm):
        for line in cls.check(config, algorithm, train, demonstrations, splitter):
            note(line)


def added_tokens(config: Config) -> int:
    """The most tokens that the strategies of the configured algorithm add to a prompt."""
    algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)
    return sum(cls.added_tokens(config) for cls in strategy_classes(algorithm))


def make_strategy(config: Config, context: TrainingContext) -> RolloutStrategy:
    """Makes the strategy of the configured algorithm, a class with all that it needs."""
    algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)
    return type("Strategy", (*strategy_classes(algorithm), RolloutStrategy), {})(config, context)


def make_collector(config: Config, context: TrainingContext) -> RolloutCollector:
    """Makes the collector of the configured algorithm."""
    collector = DynamicSampling if config.algorithm.online_filtering else RolloutCollector
    return collector(config, context, make_strategy(config, context))
