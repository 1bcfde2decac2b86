"""Mines, measures and writes the train batch of a step, for all engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from echorl_vl.core import (
    EchoConfig,
    SelectorError,
    Splitter,
    echo_metrics,
    group_statistics,
    mine_echo_clips,
    step_ids,
)
from echorl_vl.core import metric_names as names
from echorl_vl.core.seeds import step_generator
from echorl_vl.errors import UserError
from echorl_vl.outputs.rollout_files import write_rollouts
from echorl_vl.shares import clustered_standard_error
from echorl_vl.types import RolloutBatch, TrainBatch


def mine_clips(train_batch: TrainBatch, config: EchoConfig, splitter: Splitter, step: int) -> TrainBatch:
    """Adds reasoning steps and EchoClips to a batch, from the entropies that were recorded with the rollouts.

    Args:
        train_batch: graded rollouts with advantages.
        config: the section `echo`.
        splitter: splits responses into reasoning steps.
        step: the training step, which seeds random selectors.

    Raises:
        UserError: a custom selector (`echo.select`) fails or returns an invalid selection.
    """
    rollouts = train_batch.rollouts
    # Off-policy rows have no steps: they have no recorded entropies, and are not mined.
    on_policy_text = rollouts.text_mask & rollouts.is_on_policy[:, None]
    steps = step_ids(rollouts.tokens, on_policy_text, splitter)
    try:
        clips = mine_echo_clips(
            rollouts.entropy,
            steps,
            rollouts.group_ids,
            train_batch.verified,
            config,
            truncated=rollouts.truncated,
            generator=step_generator(config.seed, step, config.stream),
            on_policy=rollouts.on_policy,
            rewards=train_batch.rewards,
        )
    except SelectorError as error:
        raise UserError(str(error)) from error
    return replace(train_batch, steps=steps, clips=clips)


def write_train_batch(
    path: Path, step: int, train_batch: TrainBatch, decode: Callable[[list[list[int]]], Sequence[str]]
) -> None:
    """Writes the rollouts of a step to a file (see `outputs.rollout_files`, also for `decode`).

    The advantage of a rollout is the mean over its tokens.
    """
    advantages, mask = train_batch.advantages, train_batch.rollouts.response_mask
    if advantages.shape[1] > 1:
        advantages = (advantages.double() * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)
    write_rollouts(
        path,
        step,
        train_batch.rollouts,
        train_batch.rollouts.scores,
        decode=decode,
        step_ids=train_batch.steps,
        advantages=advantages[:, 0],
        verified=train_batch.verified,
        clips=train_batch.clips,
    )


def batch_metrics(train_batch: TrainBatch, config: EchoConfig) -> dict[str, float]:
    """Metrics of rollouts, rewards, groups and clips, with EasyR1's names where it has them.

    They are computed over on-policy rows, except `group/degenerate` and `adv/zero_share`: demonstrations take part in
    the advantages of their group.
    """
    rollouts = train_batch.rollouts
    on_policy = rollouts.is_on_policy
    metrics = {}
    if not on_policy.all():
        metrics["expert/accuracy"] = train_batch.accuracies[~on_policy].float().mean().item()
    if not on_policy.any():
        return metrics | _prompt_lengths(rollouts)
    lengths = rollouts.response_mask.sum(-1)
    metrics |= group_statistics(
        train_batch.rewards[on_policy],
        train_batch.accuracies[on_policy],
        rollouts.group_ids[on_policy],
        config.verify_threshold,
    )
    whole = group_statistics(
        train_batch.rewards,
        train_batch.accuracies,
        rollouts.group_ids,
        config.verify_threshold,
        train_batch.advantages,
        rollouts.response_mask,
    )
    metrics |= {name: whole[name] for name in (names.DEGENERATE, names.ZERO_ADVANTAGE)}
    metrics |= reward_metrics([score for score, its in zip(rollouts.scores, on_policy.tolist(), strict=True) if its])
    metrics |= {
        "response_length/mean": lengths[on_policy].float().mean().item(),
        "response_length/max": float(lengths[on_policy].max()),
        "response_length/min": float(lengths[on_policy].min()),
        "response_length/clip_ratio": rollouts.truncated[on_policy].float().mean().item(),
    }
    metrics |= _prompt_lengths(rollouts)
    if train_batch.clips is not None:
        metrics |= echo_metrics(
            train_batch.clips, train_batch.steps, rollouts.entropy, lengths, rollouts=int(on_policy.sum())
        )
    return metrics


def reward_metrics(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The metrics `reward/*`: the mean of each part of the reward over the rows that have it."""
    metrics = {}
    for part in sorted({part for score in scores for part in score}):
        values = [score[part] for score in scores if part in score]
        metrics[f"reward/{part}"] = sum(values) / len(values)
    return metrics


def _prompt_lengths(rollouts: RolloutBatch) -> dict[str, float]:
    lengths = [len(prompt.input_ids) for prompt in rollouts.prompts]
    return {"prompt_length/mean": sum(lengths) / len(lengths), "prompt_length/max": float(max(lengths))}


def validation_metrics(rollouts: RolloutBatch, n: int) -> dict[str, float]:
    """The metrics `val/*` other than rewards.

    Args:
        rollouts: n graded responses to each problem, in order.
        n: responses to each problem.
    """
    scores = rollouts.scores
    return {
        "val/accuracy_se": clustered_standard_error([score["accuracy"] for score in scores], n),
        "val/problems": len(scores) / n,
        "val/response_length": rollouts.response_mask.sum(-1).double().mean().item(),
        "val/clip_ratio": rollouts.truncated.double().mean().item(),
    }
