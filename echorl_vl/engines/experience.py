"""What a step learns from: rollouts with their rewards, advantages and EchoClips. The same for every engine."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from echorl_vl.core import (
    EchoClips,
    EchoConfig,
    Splitter,
    echo_metrics,
    group_statistics,
    mine_echo_clips,
    step_ids,
)
from echorl_vl.engines.rollouts import Rollouts
from echorl_vl.engines.seeds import step_generator


@dataclass
class Experience:
    """The rollouts of a step (B rows, T tokens) with all that was worked out from them.

    scores: parts of the reward of each row. rewards, accuracies: (B,). advantages: (B, 1), one a rollout.
    verified: (B,) bool. steps: (B, T) int64 reasoning step of each token, and clips: both None without the echo term.
    ref_log_probs: (B, T), None without a reference.
    """

    rollouts: Rollouts
    scores: list[dict[str, float]]
    rewards: Tensor
    accuracies: Tensor
    advantages: Tensor
    verified: Tensor
    steps: Tensor | None = None
    clips: EchoClips | None = None
    ref_log_probs: Tensor | None = None


def mine(experience: Experience, config: EchoConfig, splitter: Splitter, step: int) -> None:
    """Splits the rollouts into reasoning steps and chooses the EchoClips, from the entropies recorded with them."""
    rollouts = experience.rollouts
    experience.steps = step_ids(rollouts.tokens, rollouts.text_mask, splitter)
    experience.clips = mine_echo_clips(
        rollouts.entropy,
        experience.steps,
        rollouts.group_ids,
        experience.verified,
        config,
        truncated=rollouts.truncated,
        generator=step_generator(config.seed, step, "echo"),
        rewards=experience.rewards,
    )


def experience_metrics(experience: Experience, config: EchoConfig) -> dict[str, float]:
    """Metrics of rollouts, rewards, groups and clips, by the names of the specification and of EasyR1."""
    rollouts = experience.rollouts
    lengths = rollouts.response_mask.sum(-1)
    prompt_lengths = [len(prompt.input_ids) for prompt in rollouts.prompts]
    metrics = group_statistics(
        experience.rewards,
        experience.accuracies,
        rollouts.group_ids,
        config.verify_threshold,
        experience.advantages,
        rollouts.response_mask,
    )
    for part in sorted({part for score in experience.scores for part in score} - {"accuracy"}):
        values = [score[part] for score in experience.scores if part in score]
        metrics[f"reward/{part}"] = sum(values) / len(values)
    metrics |= {
        "response_length/mean": lengths.float().mean().item(),
        "response_length/max": float(lengths.max()),
        "response_length/min": float(lengths.min()),
        "response_length/clip_ratio": rollouts.truncated.float().mean().item(),
        "prompt_length/mean": sum(prompt_lengths) / len(prompt_lengths),
        "prompt_length/max": float(max(prompt_lengths)),
    }
    if experience.clips is not None:
        metrics |= echo_metrics(experience.clips, experience.steps, rollouts.entropy, lengths)
    return metrics
