"""EchoClip mining: the prefixes of verified rollouts that end at the step where the policy was least certain.

For each prompt, V = its own-policy rollouts with a verified answer. Over all steps s of all rollouts in V,

    s* = argmax H(s),   H(s) = mean entropy of the step's text tokens,

and the EchoClip is the rollout of s* up to and including the end of s*. Ties go to the first rollout of the group
(the lowest row), then to the first step. V empty, or no step that may be chosen: no clip.

Variants by `EchoConfig.select`: "max" as above; "topk", the k highest steps of the group, one clip each of weight 1/k
(a group with fewer steps gives fewer clips, so less weight); "softmax", one step drawn with probability softmax(H /
tau). The draw adds Gumbel noise to H / tau and takes the maximum, which is the same distribution (Gumbel-max).

No Python loop over tokens, rows or groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from .config import EchoConfig
from .entropy import step_sums
from .groups import degenerate_groups, group_index, group_reduce


@dataclass(frozen=True)
class EchoClips:
    """C clips, in order of row, then end.

    `token_weights` is all that the loss needs: the sum over clips of weight / length on each clip's text tokens.

    `candidates` says what they were chosen from, and so why there is none: the policy's own verified rollouts, and of
    these (each counted once, in this order) the ones that hit the length limit, the ones in a group whose rewards
    differ (`apply_to: degenerate`), and the ones without a step of `min_step_tokens` text tokens.
    """

    rows: Tensor  # (C,) int64
    ends: Tensor  # (C,) int64, position of the clip's last text token in its row
    lengths: Tensor  # (C,) int64, text tokens
    step_entropies: Tensor  # (C,) float32, nats
    weights: Tensor  # (C,) float32
    token_weights: Tensor  # (B, T) float32
    candidates: Tensor | None = None  # (4,) int64 rollouts: verified, left out as truncated, as mixed, as short

    def __len__(self) -> int:
        return len(self.rows)


def verified_rollouts(accuracies: Tensor, config: EchoConfig) -> Tensor:
    """(B,) bool: the *accuracy* part of the reward (never the whole) is at or above `verify_threshold`."""
    return accuracies >= config.verify_threshold


@torch.no_grad()
def mine_echo_clips(
    entropy: Tensor,
    step_ids: Tensor,
    group_ids: Tensor,
    verified: Tensor,
    config: EchoConfig,
    truncated: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    on_policy: Tensor | None = None,
    rewards: Tensor | None = None,
) -> EchoClips:
    """Choose the clips of a batch. Call it before any filter that drops groups.

    Args:
        entropy: (B, T) nats, of the policy's distribution at each token: over the full vocabulary, at the rollout's (or
            `entropy_temperature`'s) temperature, before any bias, top-p or top-k that the token was drawn with.
        step_ids: (B, T) int64, from `steps.step_ids`.
        group_ids: (B,) integers; rollouts of one prompt share one.
        verified: (B,) bool, from `verified_rollouts`.
        truncated: (B,) bool, hit the length limit; never mined unless `include_truncated`. None: no rollout did.
        generator: source of the noise of `select: softmax`; None seeds a fresh one with `config.seed`, which draws
            the same noise in every call.
        on_policy: (B,) bool, False for rollouts that an expert wrote: they are never mined. None: all are own.
        rewards: (B,) for `apply_to: degenerate`; None takes `verified` for it.

    Raises:
        ValueError: shapes that don't fit.
    """
    _check_shapes(step_ids, entropy, group_ids, verified, truncated, on_policy, rewards)
    index, groups = group_index(group_ids)
    sums, counts = step_sums(entropy, step_ids)
    step_entropy = (sums / counts).float()

    own = verified.bool() if on_policy is None else verified.bool() & on_policy.bool()
    whole = own if truncated is None or config.include_truncated else own & ~truncated.bool()
    minable = whole
    if config.apply_to == "degenerate":
        rewards = verified.float() if rewards is None else rewards
        minable = whole & degenerate_groups(rewards, index, groups)[index]
    eligible = minable[:, None] & (counts >= config.min_step_tokens) & step_entropy.isfinite()
    left = [rows.sum() for rows in (own, whole, minable, eligible.any(1))]
    candidates = torch.stack([left[0], *(before - after for before, after in pairwise(left))])

    weight = 1.0
    if config.select == "topk":
        rows, steps = _highest_k(step_entropy, eligible, index, config.k)
        weight = 1.0 / config.k
    elif config.select == "softmax":
        noise = _gumbel(step_entropy.shape, generator, config.seed).to(step_entropy.device)
        rows, steps = _highest(step_entropy.double() / config.tau + noise, eligible, index, groups)
    else:
        rows, steps = _highest(step_entropy, eligible, index, groups)
    return replace(_cut_clips(rows, steps, weight, step_ids, step_entropy, counts), candidates=candidates)


def _highest(score: Tensor, eligible: Tensor, index: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Row and step of each group's highest score, for the groups that have one, in order of row."""
    if score.shape[1] == 0:
        return index.new_empty(0), index.new_empty(0)
    best, step = score.masked_fill(~eligible, -torch.inf).max(dim=1)  # max() gives the first of equal steps
    at_top = (best == group_reduce(best, index, groups, "amax")[index]) & best.isfinite()
    row = torch.arange(len(index), device=index.device)
    first = group_reduce(torch.where(at_top, row, len(row)), index, groups, "amin")
    rows = first[first < len(row)].sort().values
    return rows, step[rows]


def _highest_k(score: Tensor, eligible: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Rows and steps of each group's k highest scores, in order of row, then step."""
    rows, steps = eligible.nonzero(as_tuple=True)  # by row, then step: stable sorts keep that order among ties
    order = score[rows, steps].argsort(descending=True, stable=True)
    order = order[index[rows[order]].argsort(stable=True)]
    group = index[rows[order]]
    place = torch.arange(len(order), device=order.device)
    first_of_group = torch.searchsorted(group, group)  # group is sorted
    chosen = order[place - first_of_group < k].sort().values
    return rows[chosen], steps[chosen]


def _gumbel(shape: torch.Size, generator: torch.Generator | None, seed: int) -> Tensor:
    if generator is None:
        generator = torch.Generator().manual_seed(seed)
    noise = torch.empty(shape, dtype=torch.float64, device=generator.device)
    return -noise.exponential_(generator=generator).log_()


def _cut_clips(
    rows: Tensor, steps: Tensor, weight: float, step_ids: Tensor, step_entropy: Tensor, counts: Tensor
) -> EchoClips:
    ids = step_ids[rows]  # (C, T): steps never fall along a row, so the prefix is every step up to the chosen one
    lengths = counts[rows].cumsum(1).gather(1, steps[:, None]).squeeze(1)
    position = torch.arange(step_ids.shape[1], device=step_ids.device)
    ends = torch.where(ids == steps[:, None], position, 0).amax(1) if len(rows) else rows
    weights = torch.full(rows.shape, weight, dtype=torch.float32, device=rows.device)
    prefix = (ids >= 0) & (ids <= steps[:, None])
    token_weights = torch.zeros(step_ids.shape, dtype=torch.float32, device=step_ids.device)
    token_weights.index_add_(0, rows, prefix * (weights / lengths)[:, None])
    return EchoClips(rows, ends, lengths, step_entropy[rows, steps], weights, token_weights)


def _check_shapes(step_ids: Tensor, entropy: Tensor, *per_rollout: Tensor | None) -> None:
    if step_ids.dim() != 2 or entropy.shape != step_ids.shape:
        shapes = f"{tuple(entropy.shape)} and {tuple(step_ids.shape)}"
        raise ValueError(f"mine_echo_clips needs entropy and step_ids of one shape (B, T), found {shapes}")
    names = ("group_ids", "verified", "truncated", "on_policy", "rewards")
    for name, tensor in zip(names, per_rollout, strict=True):
        if tensor is not None and tensor.shape != step_ids.shape[:1]:
            raise ValueError(f"mine_echo_clips needs {name} of shape ({len(step_ids)},), found {tuple(tensor.shape)}")
