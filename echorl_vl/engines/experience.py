"""What a step learns from: rollouts with their rewards, advantages and EchoClips. The same for every engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
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
from echorl_vl.core import metric_names as names
from echorl_vl.engines.rollouts import Rollouts, take_rows
from echorl_vl.engines.seeds import step_generator
from echorl_vl.outputs.rollout_files import write_rollouts


@dataclass
class Experience:
    """The rollouts of a step (B rows, T tokens) with all that was worked out from them.

    scores: parts of the reward of each row. rewards, accuracies: (B,). advantages: (B, 1), one a rollout, or (B, T).
    verified: (B,) bool. steps: (B, T) int64 reasoning step of each token, and clips: both None without the echo term.
    ref_log_probs: (B, T), None without a reference. echo_only: (B,) bool, rows that are here for their clip and in no
    other term of the loss; None for none.
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
    echo_only: Tensor | None = None

    def take(self, rows: Tensor) -> Experience:
        """The rows of an ascending index (b,); a row with a clip has to be among them."""
        clips = self.clips
        if clips is not None:
            clips = replace(clips, rows=torch.searchsorted(rows, clips.rows), token_weights=clips.token_weights[rows])
        optional = {name: getattr(self, name) for name in ("steps", "ref_log_probs", "echo_only")}
        return Experience(
            rollouts=take_rows(self.rollouts, rows),
            scores=[self.scores[row] for row in rows.tolist()],
            rewards=self.rewards[rows],
            accuracies=self.accuracies[rows],
            advantages=self.advantages[rows],
            verified=self.verified[rows],
            clips=clips,
            **{name: None if tensor is None else tensor[rows] for name, tensor in optional.items()},
        )


def mine(experience: Experience, config: EchoConfig, splitter: Splitter, step: int) -> None:
    """Splits the rollouts into reasoning steps and chooses the EchoClips, from the entropies recorded with them."""
    rollouts = experience.rollouts
    # An expert's rows are in no step: they are not mined, and the policy's entropies there were never recorded.
    own_text = rollouts.text_mask & rollouts.own[:, None]
    experience.steps = step_ids(rollouts.tokens, own_text, splitter)
    experience.clips = mine_echo_clips(
        rollouts.entropy,
        experience.steps,
        rollouts.group_ids,
        experience.verified,
        config,
        truncated=rollouts.truncated,
        generator=step_generator(config.seed, step, "echo"),
        own_policy=rollouts.own_policy,
        rewards=experience.rewards,
    )


def write_experience(
    path: Path, step: int, experience: Experience, decode: Callable[[list[list[int]]], Sequence[str]]
) -> None:
    """The step's rollouts as a file (see `outputs.rollout_files`, also for `decode`).

    Where advantages are of single tokens, that of a rollout is their mean.
    """
    advantages, mask = experience.advantages, experience.rollouts.response_mask
    if advantages.shape[1] > 1:
        advantages = (advantages.double() * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)
    write_rollouts(
        path,
        step,
        experience.rollouts,
        experience.scores,
        decode=decode,
        step_ids=experience.steps,
        advantages=advantages[:, 0],
        verified=experience.verified,
        clips=experience.clips,
    )


def experience_metrics(experience: Experience, config: EchoConfig) -> dict[str, float]:
    """Metrics of rollouts, rewards, groups and clips, by the names of the specification and of EasyR1.

    Those of the policy's own rollouts, but for `group/degenerate` and `adv/zero_share`: an expert's row in a group
    counts for its advantages.
    """
    rollouts = experience.rollouts
    own = rollouts.own
    experts = {} if own.all() else {"expert/accuracy": experience.accuracies[~own].float().mean().item()}
    if not own.any():
        return experts | _prompt_lengths(rollouts)
    lengths = rollouts.response_mask.sum(-1)
    metrics = experts | group_statistics(
        experience.rewards[own], experience.accuracies[own], rollouts.group_ids[own], config.verify_threshold
    )
    whole = group_statistics(
        experience.rewards,
        experience.accuracies,
        rollouts.group_ids,
        config.verify_threshold,
        experience.advantages,
        rollouts.response_mask,
    )
    metrics |= {name: whole[name] for name in (names.DEGENERATE, names.ZERO_ADVANTAGE)}
    metrics |= reward_metrics([score for score, its in zip(experience.scores, own.tolist(), strict=True) if its])
    metrics |= {
        "response_length/mean": lengths[own].float().mean().item(),
        "response_length/max": float(lengths[own].max()),
        "response_length/min": float(lengths[own].min()),
        "response_length/clip_ratio": rollouts.truncated[own].float().mean().item(),
    }
    metrics |= _prompt_lengths(rollouts)
    if experience.clips is not None:
        metrics |= echo_metrics(experience.clips, experience.steps, rollouts.entropy, lengths, rollouts=int(own.sum()))
    return metrics


def reward_metrics(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """`reward/...`: the mean of each part of the reward over the rows that have it."""
    metrics = {}
    for part in sorted({part for score in scores for part in score}):
        values = [score[part] for score in scores if part in score]
        metrics[f"reward/{part}"] = sum(values) / len(values)
    return metrics


def _prompt_lengths(rollouts: Rollouts) -> dict[str, float]:
    lengths = [len(prompt.input_ids) for prompt in rollouts.prompts]
    return {"prompt_length/mean": sum(lengths) / len(lengths), "prompt_length/max": float(max(lengths))}
