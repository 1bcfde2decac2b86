"""Accuracy on validation problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from echorl_vl.config import Config
from echorl_vl.core.seeds import step_generator
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate, grade
from echorl_vl.engines.local.sampling import validation_params
from echorl_vl.engines.train_batch import validation_metrics
from echorl_vl.rewards.manager import RewardManager
from echorl_vl.types import Problem, RolloutBatch, concatenate


@dataclass(frozen=True)
class Validation:
    """Metrics of a validation, and its graded rollouts."""

    metrics: dict[str, float]
    rollouts: RolloutBatch


def validate(
    policy: Policy, encoder: PromptEncoder, problems: Sequence[Problem], rewards: RewardManager, config: Config
) -> Validation:
    """Validates the policy: mean reward, accuracy and its standard error, lengths.

    `data.val_batch_size` problems are processed at a time; -1 is all of them. The random numbers depend on
    `worker.rollout.seed` alone, so validations of the same policy agree, and those of different policies differ by the
    policies only.
    """
    params = validation_params(config)
    size = config.data.val_batch_size if config.data.val_batch_size > 0 else len(problems)
    batches: list[RolloutBatch] = []
    for number, first in enumerate(range(0, len(problems), size)):
        generator = step_generator(config.worker.rollout.seed, number, "validation")
        prompts = [encoder.encode(problem) for problem in problems[first : first + size]]
        batches.append(grade(generate(policy, prompts, params, generator), rewards, policy, config))
    rollouts = concatenate(batches, policy.pad_id)
    totals: dict[str, list[float]] = {}
    for row in rollouts.scores:
        for part, value in row.items():
            totals.setdefault(part, []).append(value)
    metrics = {f"val/{part}_reward": sum(values) / len(values) for part, values in totals.items()}
    metrics["val/reward_score"] = metrics.pop("val/overall_reward")
    return Validation(metrics | validation_metrics(rollouts, params.n), rollouts)
