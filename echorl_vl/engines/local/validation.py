"""Accuracy on held-out problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from echorl_vl.config import Config
from echorl_vl.core.seeds import step_generator
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.engines.validation_metrics import clustered_standard_error
from echorl_vl.rewards.manager import RewardManager
from echorl_vl.types import Problem, RolloutBatch


@dataclass(frozen=True)
class Validation:
    """What a validation found: metrics, and the rollouts (one `Rollouts` a batch) with their scores."""

    metrics: dict[str, float]
    batches: list[tuple[RolloutBatch, list[dict[str, float]]]]


def training_params(config: Config) -> SamplingParams:
    """How training rollouts are drawn.

    Without `ignore_eos`: EasyR1 samples on, but grades and trains on what stands before the first end token.
    """
    rollout = config.worker.rollout
    return SamplingParams(
        n=rollout.n,
        temperature=rollout.temperature,
        top_p=rollout.top_p,
        top_k=rollout.top_k,
        max_tokens=config.data.max_response_length,
        entropy_temperature=config.echo.entropy_temperature,
    )


def validation_params(config: Config) -> SamplingParams:
    """As in training, one response a problem, and what `worker.rollout.val_override_config` changes."""
    known = {"n", "temperature", "top_p", "top_k"}
    override = {key: value for key, value in config.worker.rollout.val_override_config.items() if key in known}
    return replace(training_params(config), **{"n": 1, **override})


def score(rollouts: RolloutBatch, rewards: RewardManager, policy: Policy, config: Config) -> list[dict[str, float]]:
    """Parts of the reward of each row, graded with or without special tokens (`worker.reward.skip_special_tokens`).

    Behind a hint the whole solution is graded: the hint, and what the policy made of it.
    """
    texts, lengths = rollouts.texts, rollouts.response_mask.sum(-1).tolist()
    if not config.worker.reward.skip_special_tokens:
        rows = [row[:length] for row, length in zip(rollouts.tokens.tolist(), lengths, strict=True)]
        texts = policy.tokenizer.batch_decode(rows, skip_special_tokens=False)
    prompts = [rollouts.prompts[group] for group in rollouts.group_ids.tolist()]
    hints = {id(p): policy.tokenizer.decode(p.input_ids[-p.hint_tokens :]) for p in rollouts.prompts if p.hint_tokens}
    texts = [hints.get(id(prompt), "") + text for prompt, text in zip(prompts, texts, strict=True)]
    truths = [prompt.problem.answer for prompt in prompts]
    return rewards.score(texts, lengths, truths)


def validate(
    policy: Policy, encoder: PromptEncoder, problems: Sequence[Problem], rewards: RewardManager, config: Config
) -> Validation:
    """Metrics over all `problems`: mean reward, accuracy and its standard error, lengths.

    `data.val_batch_size` problems are encoded and answered at a time, all of them for -1.

    The draws depend on `worker.rollout.seed` alone, so two validations of one policy agree and those of two policies
    differ by the policies only.
    """
    params = validation_params(config)
    size = config.data.val_batch_size if config.data.val_batch_size > 0 else len(problems)
    batches, lengths, truncated = [], [], []
    totals: dict[str, list[float]] = {}
    for number, first in enumerate(range(0, len(problems), size)):
        generator = step_generator(config.worker.rollout.seed, number, "validation")
        prompts = [encoder.encode(problem) for problem in problems[first : first + size]]
        rollouts = generate(policy, prompts, params, generator)
        scores = score(rollouts, rewards, policy, config)
        batches.append((rollouts, scores))
        for row in scores:
            for part, value in row.items():
                totals.setdefault(part, []).append(value)
        lengths += rollouts.response_mask.sum(-1).tolist()
        truncated += rollouts.truncated.float().tolist()
    metrics = {f"val/{part}_reward": sum(values) / len(values) for part, values in totals.items()}
    metrics["val/reward_score"] = metrics.pop("val/overall_reward")
    metrics["val/accuracy_se"] = clustered_standard_error(totals["accuracy"], params.n)
    metrics["val/problems"] = float(len(problems))
    metrics["val/response_length"] = sum(lengths) / len(lengths)
    metrics["val/clip_ratio"] = sum(truncated) / len(truncated)
    return Validation(metrics, batches)
