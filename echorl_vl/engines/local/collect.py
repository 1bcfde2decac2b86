"""The graded rollouts of a step: batches of problems in their order, and n rollouts of each prompt.

Both are functions of the seed, the step and `position` (batches of problems taken so far), so a resumed run
samples what a run never stopped would have. `strategies/` holds what algorithms do beside this.
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
    """How prompts become graded rollouts, and what a step does with them. This one is plain: n rollouts of each prompt.

    A capability of `Algorithm.needs` is a subclass in `strategies/`, which overrides the hooks that it is about. An
    algorithm with several gets a class that inherits all of theirs, so each hook calls `super()` for the rest.
    """

    def __init__(self, config: Config, context: TrainingContext) -> None:
        self.config, self.context, self.policy = config, context, context.policy
        self.algorithm: Algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)

    @staticmethod
    def check(
        config: Config, algorithm: Any, train: Problems, demonstrations: DemonstrationEncoder, splitter: Splitter
    ) -> list[str]:
        """Lines about a training set with demonstrations, for the user, before anything is trained.

        Raises:
            UserError: the algorithm could not learn from the set.
        """
        return []

    @staticmethod
    def added_tokens(config: Config) -> int:
        """Most tokens that it adds to a prompt."""
        return 0

    prompt_term: PromptTerm | None = None
    """A term of the loss over tokens of the prompts, which the update adds."""

    @property
    def params(self) -> SamplingParams:
        """How rollouts are sampled."""
        return training_params(self.config)

    def sample(self, prompts: Sequence[Prompt], step: int, purpose: str, timer: PhaseTimer) -> RolloutBatch:
        """Graded rollouts of `prompts`; the draws are those of `purpose` in step `step`."""
        with timer.phase("gen"):
            rollouts = self.generate(prompts, step, purpose)
        return self.grade(rollouts, timer)

    def generate(self, prompts: Sequence[Prompt], step: int, purpose: str) -> RolloutBatch:
        """Rollouts, `data.mini_rollout_batch_size` prompts at a time: less memory for keys and values."""
        generator = step_generator(self.config.worker.rollout.seed, step, purpose)
        size = self.config.data.mini_rollout_batch_size or len(prompts)
        firsts = range(0, len(prompts), size)
        parts = [generate(self.policy, prompts[first : first + size], self.params, generator) for first in firsts]
        return parts[0] if len(parts) == 1 else concatenate(parts, self.policy.pad_id)

    def grade(self, rollouts: RolloutBatch, timer: PhaseTimer, beginnings: Sequence[str] | None = None) -> RolloutBatch:
        """The batch with its scores; `beginnings` as in `rollout.grade`."""
        with timer.phase("reward"):
            return grade(rollouts, self.context.rewards, self.policy, self.config, beginnings)

    def demonstrations(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """The demonstration of each prompt as the tokens of a response, (L,) each."""
        return [self.context.demonstrations.encode(prompt.problem) for prompt in prompts]

    def update_batch(self, train_batch: TrainBatch) -> TrainBatch:
        """What the update sees of a step, once advantages and clips are there."""
        return train_batch

    def finish_step(self, train_batch: TrainBatch, updater: Updater, timer: PhaseTimer) -> dict[str, float]:
        """What is left to do after the update; returns metrics of the step."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to hold of it."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Resumes from what `state` gave."""


class RolloutCollector:
    """Takes batches of problems in their order and has them sampled.

    position: batches of problems taken so far, a part of the run's state.
    """

    def __init__(self, config: Config, context: TrainingContext, strategy: RolloutStrategy) -> None:
        self.config, self.context, self.strategy = config, context, strategy
        self.position = 0

    def collect(self, step: int, timer: PhaseTimer, echo: bool = True) -> RolloutBatch:
        """What step `step` (1 the first) learns from; `echo`: the echo term has a weight in it."""
        return self.next_batch(step, "rollout", timer)

    def next_batch(self, step: int, purpose: str, timer: PhaseTimer) -> RolloutBatch:
        """Graded rollouts of the next batch of problems."""
        problems = self.context.order.batch(self.position)
        self.position += 1
        encoder, train = self.context.encoder, self.context.train
        prompts = [replace(encoder.encode(train[index]), index=index) for index in problems]
        return self.strategy.sample(prompts, step, purpose, timer)
