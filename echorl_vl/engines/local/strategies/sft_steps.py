"""Additional steps of supervised fine-tuning on problems that no rollout solves (ReLIFT)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from echorl_vl.algorithms.sft import SFT
from echorl_vl.config import Config
from echorl_vl.core import Splitter
from echorl_vl.core.groups import all_of_group
from echorl_vl.data.demonstrations import DemonstrationEncoder
from echorl_vl.data.problem import Problems
from echorl_vl.engines.local.advantages import compute_advantages
from echorl_vl.engines.local.collect import RolloutStrategy
from echorl_vl.engines.local.rollout import grade
from echorl_vl.engines.local.strategies.off_policy import off_policy_rows
from echorl_vl.engines.local.timing import PhaseTimer
from echorl_vl.engines.local.update import Updater
from echorl_vl.errors import UserError
from echorl_vl.types import TrainBatch


class AlgorithmWithSFTSteps(Protocol):
    """The interface of an algorithm with `Capability.SFT_STEPS`.

    Attributes:
        buffer: problems of an SFT step.
    """

    buffer: int


class SFTSteps(RolloutStrategy):
    """Fine-tunes on the demonstrations of problems whose rollouts all fail, `buffer` problems at a time.

    Attributes:
        waiting: failed problems that are not used yet, by their index in the training set.
    """

    algorithm: AlgorithmWithSFTSteps

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.waiting: list[int] = []

    @staticmethod
    def check(
        config: Config,
        algorithm: AlgorithmWithSFTSteps,
        train: Problems,
        demonstrations: DemonstrationEncoder,
        splitter: Splitter,
    ) -> list[str]:
        if algorithm.buffer > len(train):
            raise UserError(
                f"algorithm.options.buffer = {algorithm.buffer} ({config.origin('algorithm.options')}): the buffer "
                f"contains each problem once, and {train.source} has {len(train):,} with a demonstration, so it would "
                f"never be full; expected at most {len(train):,}"
            )
        return []

    def finish_step(self, train_batch: TrainBatch, updater: Updater, timer: PhaseTimer) -> dict[str, float]:
        metrics = super().finish_step(train_batch, updater, timer)
        with timer.phase("fine_tune"):
            return metrics | self._fine_tune(train_batch, updater)

    def _fine_tune(self, train_batch: TrainBatch, updater: Updater) -> dict[str, float]:
        prompts = train_batch.rollouts.prompts
        failed = all_of_group(~train_batch.verified, train_batch.rollouts.group_ids, len(prompts)).tolist()
        steps = []
        for problems in self._batches([prompt.index for prompt, its in zip(prompts, failed, strict=True) if its]):
            prompts = [self.context.encoder.encode(self.context.train[index]) for index in problems]
            rows = off_policy_rows(self.policy, prompts, self.demonstrations(prompts))
            rollouts = grade(rows, self.context.rewards, self.policy, self.config)
            steps.append(updater.fine_tune(compute_advantages(rollouts, self.config, SFT()), SFT()))
        means = {name: sum(step[name] for step in steps) / len(steps) for name in (steps[0] if steps else ())}
        return means | {"sft/steps": float(len(steps)), "sft/buffer": float(len(self.waiting))}

    def _batches(self, failed: Sequence[int]) -> Iterator[list[int]]:
        """Adds problems that are not waiting yet; removes and yields each full batch."""
        self.waiting += [problem for problem in dict.fromkeys(failed) if problem not in self.waiting]
        while len(self.waiting) >= self.algorithm.buffer:
            batch, self.waiting = self.waiting[: self.algorithm.buffer], self.waiting[self.algorithm.buffer :]
            yield batch

    def state(self) -> dict[str, Any]:
        return super().state() | {"buffer": list(self.waiting)}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.waiting = list(state.get("buffer", ()))
