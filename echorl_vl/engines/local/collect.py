"""Collects the graded rollouts of a step: takes the next problems and samples n rollouts of each prompt.

Problems and rollouts are functions of the seed, the step and `position` (batches of problems taken so far), so a
resumed run samples the same as one that was never stopped. `strategies/` has the strategies of single algorithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from echorl_vl.algorithms import Algorithm, make_algorithm
from echorl_vl.config import Config
from echorl_vl.core import Splitter
from echorl_vl.core.seeds import step_generator
from echorl_vl.data.demonstrations import DemonstrationEncoder
from echorl_vl.data.problem import Problems
from echorl_vl.engines.local.prompt_tokens import PromptTerm
from echorl_vl.engines.local.rollout import generate, grade
from echorl_vl.engines.local.sampling import SamplingParams, training_params
from echorl_vl.engines.local.timing import PhaseTimer
from echorl_vl.types import Prompt, RolloutBatch, TrainBatch, concatenate

if TYPE_CHECKING:
    from echorl_vl.engines.local.context import TrainingContext
    from echorl_vl.engines.local.update import Updater


class RolloutStrategy:
    """Turns prompts into graded rollouts. This base class samples n rollouts of each prompt.

    Each capability in `Algorithm.needs` has a subclass in `strategies/` that overrides some of the hooks below. An
    algorithm with several capabilities gets a class that inherits from all of them, so each hook calls `super()`.
    """

    def __init__(self, config: Config, context: TrainingContext) -> None:
        self.config, self.context, self.policy = config, context, context.policy
        self.algorithm: Algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)

    @staticmethod
    def check(
        config: Config, algorithm: Any, train: Problems, demonstrations: DemonstrationEncoder, splitter: Splitter
    ) -> list[str]:
        """Checks a training set with demonstrations before training.

        Returns:
            Notes for the user.

        Raises:
            UserError: the algorithm can't learn from the set.
        """
        return []

    @staticmethod
    def added_tokens(config: Config) -> int:
        """The most tokens that the strategy adds to a prompt."""
        return 0

    prompt_term: PromptTerm | None = None
    """A loss term over tokens of the prompts, which the update adds."""

    @property
    def params(self) -> SamplingParams:
        """How rollouts are sampled."""
        return training_params(self.config)

    def sample(self, prompts: Sequence[Prompt], step: int, purpose: str, timer: PhaseTimer) -> RolloutBatch:
        """Samples and grades rollouts of `prompts`, with the random numbers of `purpose` in step `step`."""
        with timer.phase("gen"):
            rollouts = self.generate(prompts, step, purpose)
        return self.grade(rollouts, timer)

    def generate(self, prompts: Sequence[Prompt], step: int, purpose: str) -> RolloutBatch:
        """Samples rollouts of `data.mini_rollout_batch_size` prompts at a time, which limits the memory."""
        generator = step_generator(self.config.worker.rollout.seed, step, purpose)
        size = self.config.data.mini_rollout_batch_size or len(prompts)
        firsts = range(0, len(prompts), size)
        parts = [generate(self.policy, prompts[first : first + size], self.params, generator) for first in firsts]
        return parts[0] if len(parts) == 1 else concatenate(parts, self.policy.pad_id)

    def grade(self, rollouts: RolloutBatch, timer: PhaseTimer, beginnings: Sequence[str] | None = None) -> RolloutBatch:
        """Adds scores to a batch; see `rollout.grade` for `beginnings`."""
        with timer.phase("reward"):
            return grade(rollouts, self.context.rewards, self.policy, self.config, beginnings)

    def demonstrations(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """The demonstration of each prompt as response tokens, (L,) each."""
        return [self.context.demonstrations.encode(prompt.problem) for prompt in prompts]

    def update_batch(self, train_batch: TrainBatch) -> TrainBatch:
        """The rows that the update trains on, chosen after advantages and clips are computed."""
        return train_batch

    def finish_step(self, train_batch: TrainBatch, updater: Updater, timer: PhaseTimer) -> dict[str, float]:
        """Runs after the update of a step; returns metrics."""
        return {}

    def state(self) -> dict[str, Any]:
        """The state of the strategy for a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores a state from `state`."""


class RolloutCollector:
    """Samples the problems of a run batch by batch, in their order.

    Attributes:
        position: batches of problems taken so far; part of a checkpoint.
    """

    def __init__(self, config: Config, context: TrainingContext, strategy: RolloutStrategy) -> None:
        self.config, self.context, self.strategy = config, context, strategy
        self.position = 0

    def collect(self, step: int, timer: PhaseTimer, echo: bool = True) -> RolloutBatch:
        """The graded rollouts of training step `step`, counted from 1.

        Args:
            step: the training step.
            timer: times the phases.
            echo: whether the echo term has a weight above 0 in this step.
        """
        return self.next_batch(step, "rollout", timer)

    def next_batch(self, step: int, purpose: str, timer: PhaseTimer) -> RolloutBatch:
        """Graded rollouts of the next batch of problems."""
        problems = self.context.order.batch(self.position)
        self.position += 1
        encoder, train = self.context.encoder, self.context.train
        prompts = [replace(encoder.encode(train[index]), index=index) for index in problems]
        return self.strategy.sample(prompts, step, purpose, timer)
