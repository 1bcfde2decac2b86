"""From rollouts and their scores to rewards and advantages, and to the rows that the update sees."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from echorl_vl.algorithms import Algorithm, Capability, make_algorithm
from echorl_vl.config import Config
from echorl_vl.core import group_advantages, token_advantages
from echorl_vl.core.groups import degenerate_groups, group_index
from echorl_vl.engines.local.reference import kl_of_tokens
from echorl_vl.types import RolloutBatch, TrainBatch


def compute_advantages(
    rollouts: RolloutBatch,
    scores: list[dict[str, float]],
    config: Config,
    ref_log_probs: Tensor | None = None,
    kl_coef: float = 0.0,
    algorithm: Algorithm | None = None,
    aux_only: Tensor | None = None,
) -> TrainBatch:
    """Rewards and advantages. With KL in the reward (`use_kl_loss: false`) each own reward loses kl_coef * KL.

    The advantages of reinforce_plus_plus are of single tokens: a token's return is what follows it, discounted.

    The rows of groups that are here for the echo term (`aux_only`, (P,) bool) have advantage 0 and are in no other
    term, so that the others weigh what they weigh without them: their format or length earns nothing either.
    Without rollouts (SFT) there is nothing to compare, and advantages are 0.
    """
    if aux_only is not None:
        aux_only = aux_only.to(rollouts.group_ids.device)[rollouts.group_ids]
    rollouts = replace(rollouts, scores=scores, aux_only=aux_only)
    algorithm = algorithm or make_algorithm(config.algorithm.name, config.algorithm.options)
    settings, rewards = config.algorithm, rollouts.score("overall")
    lengths = rollouts.response_mask.sum(-1)
    returns = algorithm.shape_rewards(rewards, lengths, config.data.max_response_length)
    kl = torch.zeros_like(rollouts.log_probs)
    if ref_log_probs is not None and not settings.use_kl_loss:
        kl = kl_of_tokens(rollouts, ref_log_probs, settings.kl_penalty)
    if Capability.NO_ROLLOUTS in algorithm.needs:
        advantages = torch.zeros_like(returns)[:, None]
    elif settings.adv_estimator == "reinforce_plus_plus":
        outcome = torch.zeros_like(kl).scatter(1, (lengths - 1)[:, None], returns[:, None])
        advantages = token_advantages(outcome - kl_coef * kl, rollouts.response_mask, settings.gamma)
    else:
        advantages = group_advantages(
            returns - kl_coef * kl.sum(-1),
            rollouts.group_ids,
            settings.adv_estimator,
            norm_by_std=settings.norm_adv_by_std_in_grpo,
        )[:, None]
    if settings.adv_estimator == "reinforce_rej":  # uniform groups are those of the rewards, whatever KL adds to them
        index, groups = group_index(rollouts.group_ids)
        advantages = advantages.masked_fill(degenerate_groups(rewards, index, groups)[index][:, None], 0.0)
    if aux_only is not None:
        advantages = advantages.masked_fill(aux_only[:, None], 0.0)
    return TrainBatch.from_rollouts(rollouts, advantages, config.echo, ref_log_probs)


def reduce_rows(train_batch: TrainBatch, algorithm: Algorithm) -> TrainBatch:
    """The rows that go into the update, once advantages and clips are there: the algorithm's, and those with a clip.

    A row that is kept for its clip alone is in no other term of the loss.
    """
    kept = algorithm.select_rows(train_batch.verified, train_batch.rollouts.group_ids)
    if kept is None:
        return train_batch
    for_echo = torch.zeros_like(kept)
    if train_batch.clips is not None:
        for_echo[train_batch.clips.rows] = True
    reduced = replace(train_batch, rollouts=replace(train_batch.rollouts, aux_only=for_echo & ~kept))
    return reduced.take((kept | for_echo).nonzero().squeeze(1))
