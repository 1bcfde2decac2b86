"""Dynamic sampling (DAPO): drops groups whose mean is not between filter_low and filter_high, and samples further
problems until there are rollout_batch_size groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from echorl_vl.core.groups import all_of_group, group_reduce
from echorl_vl.engines.local.collect import RolloutCollector
from echorl_vl.engines.local.timing import PhaseTimer
from echorl_vl.engines.train_batch import reward_metrics
from echorl_vl.errors import UserError
from echorl_vl.types import RolloutBatch, concatenate, take_rows


class DynamicSampling(RolloutCollector):
    """Collects groups by their mean of `algorithm.filter_key`.

    The groups of a step are selected by their rewards, so the metrics `reward/*` are computed over all sampled
    rollouts: they measure the policy on unselected problems.
    """

    def collect(self, step: int, timer: PhaseTimer, echo: bool = True) -> RolloutBatch:
        """See `RolloutCollector.collect`.

        Raises:
            UserError: too few groups are left after `trainer.max_try_make_batch` rounds.
        """
        keep_success = self.config.algorithm.keeps_all_success(echo)
        needed, limit = self.config.data.rollout_batch_size, self.config.trainer.max_try_make_batch
        kept: list[RolloutBatch] = []
        scores: list[dict[str, float]] = []
        means: list[float] = []
        rounds = groups = found = 0
        while found < needed:
            if 0 < limit <= rounds:
                raise self._too_few_groups(step, rounds, found, means)
            batch = self.next_batch(step, f"rollout {rounds}" if rounds else "rollout", timer)
            rounds, groups = rounds + 1, groups + len(batch.prompts)
            scores += batch.scores
            kept += self._filtered(batch, keep_success, means)
            found = sum(len(part.prompts) for part in kept)
        whole = concatenate(kept, self.context.policy.pad_id)
        metrics = {"sampling/rounds": rounds, "sampling/groups": groups, "sampling/kept": found}
        metrics = {name: float(count) for name, count in metrics.items()} | reward_metrics(scores)
        return replace(_take_groups(whole, torch.arange(found) < needed), metrics=metrics)

    def _filtered(self, batch: RolloutBatch, keep_success: bool, means: list[float]) -> list[RolloutBatch]:
        """The batch without its dropped groups, [] if none is left; appends the mean of each group to `means`."""
        algorithm, groups = self.config.algorithm, len(batch.prompts)
        if missing := [row for row in batch.scores if algorithm.filter_key not in row]:
            raise UserError(
                f"algorithm.filter_key = {algorithm.filter_key}: the reward has no such part; expected one of "
                f"{', '.join(sorted(missing[0]))}"
            )
        on_policy, group_ids = batch.is_on_policy.cpu(), batch.group_ids.cpu()
        on_policy_groups = group_ids[on_policy]
        values = torch.tensor([row[algorithm.filter_key] for row in batch.scores], dtype=torch.float64)[on_policy]
        mean = group_reduce(values, on_policy_groups, groups, "sum") / on_policy_groups.bincount(minlength=groups)
        means += mean.tolist()
        kept = (mean > algorithm.filter_low) & (mean < algorithm.filter_high)  # as in EasyR1, both bounds are excluded
        if keep_success:
            accuracies = torch.tensor([row["accuracy"] for row in batch.scores], dtype=torch.float64)[on_policy]
            success = all_of_group(accuracies >= self.config.echo.verify_threshold, on_policy_groups, groups)
            aux_only = (success & ~kept)[group_ids].to(batch.group_ids.device)
            batch, kept = replace(batch, aux_only=aux_only), kept | success
        return [_take_groups(batch, kept)] if kept.any() else []

    def _too_few_groups(self, step: int, rounds: int, kept: int, means: Sequence[float]) -> UserError:
        algorithm = self.config.algorithm
        return UserError(
            f"step {step}: {rounds} rounds of sampling left {kept} of {self.config.data.rollout_batch_size} groups "
            f"(data.rollout_batch_size): algorithm.online_filtering drops those whose mean {algorithm.filter_key} is "
            f"not between filter_low = {algorithm.filter_low} and filter_high = {algorithm.filter_high}; the means "
            f"ranged from {min(means):.3g} to {max(means):.3g}. Use easier or harder problems, other bounds, a larger "
            "worker.rollout.n, algorithm.dynamic_sampling=echo, or a higher trainer.max_try_make_batch (-1: no limit)"
        )


def _take_groups(rollouts: RolloutBatch, kept: Tensor) -> RolloutBatch:
    """The groups that a (P,) bool mask selects."""
    rows = kept.to(rollouts.group_ids.device)[rollouts.group_ids].nonzero().squeeze(1)
    return take_rows(rollouts, rows)
