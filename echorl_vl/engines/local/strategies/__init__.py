"""What algorithms do beside plain sampling: a class for each capability that an algorithm may need of this engine."""

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

# In the order in which each wraps the next: hints are cut once for all rounds, and a round has its off-policy rows.
STRATEGIES: dict[Capability, type[RolloutStrategy]] = {
    Capability.SFT_STEPS: SFTSteps,
    Capability.HINTS: Hints,
    Capability.ROUNDS: Rounds,
    Capability.OFF_POLICY_ROWS: OffPolicyRows,
    Capability.NO_ROLLOUTS: DemonstrationsOnly,
}


def strategy_classes(algorithm: Algorithm) -> Iterator[type[RolloutStrategy]]:
    """Those of the algorithm's needs."""
    return (cls for capability, cls in STRATEGIES.items() if capability in algorithm.needs)


def check_training_set(
    config: Config,
    train: Problems,
    demonstrations: DemonstrationEncoder,
    splitter: Splitter,
    note: Callable[[str], None],
) -> None:
    """Looks whether the configuration's algorithm can learn from a set; ``note`` takes lines about it, for the user.

    Raises:
        UserError: it can not.
    """
    algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)
    for cls in strategy_classes(algorithm):
        for line in cls.check(config, algorithm, train, demonstrations, splitter):
            note(line)


def added_tokens(config: Config) -> int:
    """Most tokens that the strategies of the configuration's algorithm add to a prompt."""
    algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)
    return sum(cls.added_tokens(config) for cls in strategy_classes(algorithm))


def make_strategy(config: Config, context: TrainingContext) -> RolloutStrategy:
    """That of the configuration's algorithm: plain, or with all that the algorithm needs."""
    algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)
    return type("Strategy", (*strategy_classes(algorithm), RolloutStrategy), {})(config, context)


def make_collector(config: Config, context: TrainingContext) -> RolloutCollector:
    """Collects batches with the strategy of the configuration's algorithm."""
    collector = DynamicSampling if config.algorithm.online_filtering else RolloutCollector
    return collector(config, context, make_strategy(config, context))
