"""The rollouts that a step learns from, graded: which prompts, how often, and what an expert adds to them.

Four ways, all of them functions of the seed, the step and `position` (batches of prompts taken so far):

    as it comes        n rollouts of each prompt
    expert rows        n - 1 rollouts, and the expert's trace as the last row of the group     LUFFY, SRFT
    more rounds        n more rollouts for the prompts that are not settled yet                Reinforce-Ada
    dynamic sampling   groups at or outside of filter_low and filter_high are dropped, and     DAPO
                       further prompts sampled, until rollout_batch_size groups are there
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from echorl_vl.algorithms import Algorithm, Capability
from echorl_vl.config import Config
from echorl_vl.core.groups import all_of_group, group_reduce
from echorl_vl.core.seeds import step_generator
from echorl_vl.engines.local.context import TrainingContext
from echorl_vl.engines.local.expert_traces import with_hint
from echorl_vl.engines.local.rows import (
    expert_rollouts,
    generate_in_chunks,
    with_expert_rows,
)
from echorl_vl.engines.local.timing import PhaseTimer
from echorl_vl.engines.local.validation import score, training_params
from echorl_vl.engines.train_batch import reward_metrics
from echorl_vl.errors import UserError
from echorl_vl.types import Prompt, RolloutBatch, concatenate, merge_groups, take_rows

Scores = list[dict[str, float]]


@dataclass
class Collected:
    """Rollouts with the parts of their rewards; problems: (P,) index in the training set of each prompt's problem.

    metrics: of the sampling. Where a step learns from rows that its algorithm chose by their rewards, `reward/...` in
    it are of the rows that were sampled before: what the policy scores, on prompts as they come. aux_only: (P,) bool,
    groups that dynamic sampling would have dropped and keeps for the echo term; None for none.
    """

    rollouts: RolloutBatch
    scores: Scores
    problems: list[int]
    metrics: dict[str, float] = field(default_factory=dict)
    aux_only: Tensor | None = None


class RolloutCollector:
    """Samples and grades. `position`: batches of prompts taken so far, a part of the run's state."""

    def __init__(self, config: Config, parts: TrainingContext, algorithm: Algorithm) -> None:
        self.config, self.parts, self.policy, self.algorithm = config, parts, parts.policy, algorithm
        self.position = 0

    def collect(self, step: int, timer: PhaseTimer, echo: bool = True) -> Collected:
        """What step `step` (1 the first) learns from; `echo`: the echo term has a weight in it.

        Raises UserError if dynamic sampling keeps too few groups.
        """
        if self.config.algorithm.online_filtering:
            collected = self._dynamic_sampling(step, timer, self.config.algorithm.keeps_all_success(echo))
        else:
            collected = self._batch(step, "rollout", timer)
        hints = [prompt.hint_tokens for prompt in collected.rollouts.prompts]
        if any(hints):
            share = sum(tokens > 0 for tokens in hints) / len(hints)
            collected.metrics |= {"hint/tokens": sum(hints) / len(hints), "hint/prompts": share}
        return collected

    def _dynamic_sampling(self, step: int, timer: PhaseTimer, keep_success: bool) -> Collected:
        wanted, limit = self.config.data.rollout_batch_size, self.config.trainer.max_try_make_batch
        kept: list[Collected] = []
        graded: Scores = []
        means: list[float] = []
        rounds = groups = 0
        while sum(len(part.problems) for part in kept) < wanted:
            if 0 < limit <= rounds:
                raise self._too_few_groups(step, rounds, sum(len(part.problems) for part in kept), means)
            batch = self._batch(step, f"rollout {rounds}" if rounds else "rollout", timer)
            rounds, groups = rounds + 1, groups + len(batch.problems)
            graded += batch.scores
            kept += self._filtered(batch, keep_success, means)
        whole = _join(kept, self.policy.pad_id)
        metrics = {"sampling/rounds": float(rounds), "sampling/groups": float(groups)}
        metrics["sampling/kept"] = float(len(whole.problems))
        metrics |= reward_metrics(graded)
        return replace(_first_groups(whole, wanted), metrics=metrics)

    def _batch(self, step: int, purpose: str, timer: PhaseTimer) -> Collected:
        problems = self.parts.order.batch(self.position)
        self.position += 1
        config, algorithm = self.config, self.algorithm
        prompts = self._prompts(problems, step, purpose)
        if Capability.NO_ROLLOUTS in algorithm.needs:
            rollouts = expert_rollouts(self.policy, prompts, self._traces(prompts))
            return Collected(rollouts, self._grade(rollouts, timer), problems)
        expert = Capability.OFF_POLICY_ROWS in algorithm.needs
        params = training_params(config)
        params = replace(params, n=params.n - expert)
        size = config.data.mini_rollout_batch_size or len(prompts)
        with timer.phase("gen"):
            generator = step_generator(config.worker.rollout.seed, step, purpose)
            rollouts = generate_in_chunks(self.policy, prompts, params, generator, size)
            if expert:
                rollouts = with_expert_rows(rollouts, self.policy, self._traces(prompts))
        scores = self._grade(rollouts, timer)
        metrics = {}
        if algorithm.rounds > 1:
            rollouts, scores, metrics = self._more_rounds(rollouts, scores, params, step, timer)
        return Collected(rollouts, scores, problems, metrics)

    def _prompts(self, problems: Sequence[int], step: int, purpose: str) -> list[Prompt]:
        prompts = [self.parts.encoder.encode(self.parts.train[index]) for index in problems]
        if Capability.HINTS not in self.algorithm.needs:
            return prompts
        most, traces = self.algorithm.hint_pieces, self.parts.traces
        hints = [traces.hints(prompt.problem, most) for prompt in prompts]
        pieces = torch.tensor([len(own) for own in hints])
        generator = step_generator(self.config.worker.rollout.seed, step, f"hint {purpose}")
        kept = self.algorithm.keep_hint(step, self.parts.total_steps, pieces, generator).tolist()
        return [
            with_hint(prompt, own[count - 1]) if count else prompt
            for prompt, own, count in zip(prompts, hints, kept, strict=True)
        ]

    def _traces(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        return [self.parts.traces.tokens(prompt.problem) for prompt in prompts]

    def _grade(self, rollouts: RolloutBatch, timer: PhaseTimer) -> Scores:
        with timer.phase("reward"):
            return score(rollouts, self.parts.rewards, self.policy, self.config)

    def _more_rounds(
        self, rollouts: RolloutBatch, scores: Scores, params, step: int, timer: PhaseTimer
    ) -> tuple[RolloutBatch, Scores, dict[str, float]]:
        """Samples the prompts that are not settled again and again; rows of a group stay in the order of sampling."""
        every = torch.arange(len(rollouts.prompts))
        parts, numbers, graded, group_ids = [rollouts], [every], list(scores), rollouts.group_ids.cpu()
        while len(parts) < self.algorithm.rounds:
            correct = torch.tensor([row["accuracy"] >= self.config.echo.verify_threshold for row in graded])
            unsettled = every[~self.algorithm.is_done(correct, group_ids)]
            if not len(unsettled):
                break
            with timer.phase("gen"):
                generator = step_generator(self.config.worker.rollout.seed, step, f"round {len(parts)}")
                prompts = [rollouts.prompts[prompt] for prompt in unsettled.tolist()]
                size = self.config.data.mini_rollout_batch_size or len(prompts)
                parts.append(generate_in_chunks(self.policy, prompts, params, generator, size))
            numbers.append(unsettled)
            graded += self._grade(parts[-1], timer)
            group_ids = torch.cat([group_ids, unsettled[parts[-1].group_ids.cpu()]])
        metrics = {"sampling/rounds": float(len(parts)), "sampling/rollouts_per_prompt": len(graded) / len(every)}
        metrics |= reward_metrics(scores)  # of the first round: the others are of prompts that went ill, or too well
        if len(parts) == 1:
            return rollouts, scores, metrics
        order = group_ids.argsort(stable=True).tolist()  # as merge_groups orders rows
        return merge_groups(parts, numbers, self.policy.pad_id), [graded[row] for row in order], metrics

    def _filtered(self, batch: Collected, keep_success: bool, means: list[float]) -> list[Collected]:
        """The batch without its dropped groups, [] if none is left; notes the groups' `means` of the filter key."""
        algorithm, rollouts = self.config.algorithm, batch.rollouts
        if missing := [row for row in batch.scores if algorithm.filter_key not in row]:
            raise UserError(
                f"algorithm.filter_key = {algorithm.filter_key}: the reward has no such part; it gave "
                f"{', '.join(sorted(missing[0]))}"
            )
        own = rollouts.is_on_policy.cpu()
        group_ids, groups = rollouts.group_ids.cpu()[own], len(batch.problems)
        values = torch.tensor([row[algorithm.filter_key] for row in batch.scores], dtype=torch.float64)[own]
        mean = group_reduce(values, group_ids, groups, "sum") / group_ids.bincount(minlength=groups)
        means += mean.tolist()
        kept = (mean > algorithm.filter_low) & (mean < algorithm.filter_high)  # as EasyR1: neither bound is inside
        if keep_success:
            accuracies = torch.tensor([row["accuracy"] for row in batch.scores], dtype=torch.float64)[own]
            success = all_of_group(accuracies >= self.config.echo.verify_threshold, group_ids, groups)
            batch.aux_only, kept = success & ~kept, kept | success
        return [_take_groups(batch, kept)] if kept.any() else []

    def _too_few_groups(self, step: int, rounds: int, kept: int, means: Sequence[float]) -> UserError:
        algorithm = self.config.algorithm
        return UserError(
            f"step {step}: {rounds} rounds of sampling left {kept} groups of {self.config.data.rollout_batch_size} "
            f"(data.rollout_batch_size): algorithm.online_filtering drops those whose mean {algorithm.filter_key} is "
            f"not between filter_low = {algorithm.filter_low} and filter_high = {algorithm.filter_high}; the means "
            f"went from {min(means):.3g} to {max(means):.3g}. Easier or harder problems, other bounds, a larger "
            "worker.rollout.n, algorithm.dynamic_sampling=echo, or a higher trainer.max_try_make_batch (-1: no limit) "
            "help"
        )


def _take_groups(collected: Collected, kept: Tensor) -> Collected:
    """The groups of a (P,) bool mask."""
    rollouts = collected.rollouts
    rows = kept.to(rollouts.group_ids.device)[rollouts.group_ids].nonzero().squeeze(1)
    return Collected(
        take_rows(rollouts, rows),
        [collected.scores[row] for row in rows.tolist()],
        [problem for problem, its in zip(collected.problems, kept.tolist(), strict=True) if its],
        aux_only=None if collected.aux_only is None else collected.aux_only[kept],
    )


def _first_groups(collected: Collected, count: int) -> Collected:
    if len(collected.problems) == count:
        return collected
    return _take_groups(collected, torch.arange(len(collected.problems)) < count)


def _join(parts: Sequence[Collected], pad_id: int) -> Collected:
    return Collected(
        concatenate([part.rollouts for part in parts], pad_id),
        [score for part in parts for score in part.scores],
        [problem for part in parts for problem in part.problems],
        aux_only=None if parts[0].aux_only is None else torch.cat([part.aux_only for part in parts]),
    )
