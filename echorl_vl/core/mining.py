"""EchoClip mining: prefixes of verified rollouts that end at the reasoning step of highest entropy.

For each prompt, let V be its on-policy rollouts with a verified answer. Over all steps s of all rollouts in V,

    s* = argmax H(s),   H(s) = mean entropy of the step's text tokens,

and the EchoClip is the rollout of s* up to and including the end of s*. Ties go to the first rollout of the group
(the lowest row), then to the first step. If V is empty or has no eligible step, the prompt has no clip.

`EchoConfig.select` names another rule to choose steps (see `selectors`). With `EchoConfig.clip_tokens: as_max`, the
clips of that rule are as long as the paper's, so that a comparison measures the rule and not the length. Let L be the
number of text tokens of the paper's clip of a group. Rollouts of that group with fewer than L text tokens are not
eligible, and the clip is the L text tokens that end with the chosen step. If there are fewer than L text tokens up to
the end of the step, the clip is the first L text tokens of the rollout, which include the step. Such a clip can start
inside a rollout; the log-probs of its tokens are still conditioned on all previous tokens.

There is no Python loop over tokens, rows or steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from .config import EchoConfig
from .entropy import step_sums
from .groups import degenerate_groups, group_index
from .selectors import SELECTORS, Selector, SelectorError, find_selector


@dataclass(frozen=True)
class EchoClips:
    """C clips, sorted by row, then end.

    The loss needs only `token_weights`: the sum over clips of weight / length at the text tokens of each clip.

    `candidates` counts the rollouts that clips were chosen from: the verified on-policy rollouts, and those among them
    that were left out, each counted under the first reason that applies: it hit the length limit, the rewards of its
    group differ (`apply_to: degenerate`), or it has no step of `min_step_tokens` text tokens.

    `overlap` (`clip_tokens: as_max`) is the overlap with the paper's clips: sum of min(w, w') / sum of w over all
    tokens, for token weights w of the paper's clips and w' of these.
    """

    rows: Tensor  # (C,) int64
    ends: Tensor  # (C,) int64, position of the clip's last text token in its row
    lengths: Tensor  # (C,) int64, text tokens
    step_entropies: Tensor  # (C,) float32, nats
    weights: Tensor  # (C,) float32
    token_weights: Tensor  # (B, T) float32
    candidates: Tensor | None = None  # (4,) int64 rollouts: verified; left out as truncated, mixed, short
    overlap: Tensor | None = None  # () float64, nan without clips

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def per_row(self) -> Tensor:
        """(B,) int64: number of clips of each row."""
        return torch.bincount(self.rows, minlength=len(self.token_weights))


def verified_rollouts(accuracies: Tensor, config: EchoConfig) -> Tensor:
    """(B,) bool: the *accuracy* part of the reward, not the whole reward, is at or above `verify_threshold`."""
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
        entropy: (B, T) nats, entropy of the policy's distribution at each token: over the full vocabulary, at the
            temperature of the rollouts (or `entropy_temperature`), before any logit bias, top-p or top-k of sampling.
        step_ids: (B, T) int64, from `steps.step_ids`.
        group_ids: (B,) integers; rollouts of the same prompt have the same id.
        verified: (B,) bool, from `verified_rollouts`.
        config: options of EchoRL.
        truncated: (B,) bool, the rollout hit the length limit; mined only with `include_truncated`. None: no rollout.
        generator: random numbers of the selector. None: a new generator seeded with `config.seed`, which gives the same
            numbers in every call.
        on_policy: (B,) bool, False for demonstrations, which are never mined. None: all rows are on-policy.
        rewards: (B,) rewards for `apply_to: degenerate`. None: `verified` takes their place.

    Raises:
        ValueError: the shapes don't match.
        SelectorError: the selector raises an error or returns anything but eligible steps.
    """
    _check_shapes(step_ids, entropy, group_ids, verified, truncated, on_policy, rewards)
    index, groups = group_index(group_ids)
    sums, counts = step_sums(entropy, step_ids)
    step_entropy = (sums / counts).float()

    valid = verified.bool() if on_policy is None else verified.bool() & on_policy.bool()
    whole = valid if truncated is None or config.include_truncated else valid & ~truncated.bool()
    minable = whole
    if config.apply_to == "degenerate":
        rewards = verified.float() if rewards is None else rewards
        minable = whole & degenerate_groups(rewards, index, groups)[index]
    eligible = minable[:, None] & (counts >= config.min_step_tokens) & step_entropy.isfinite()
    left = [rows.sum() for rows in (valid, whole, minable, eligible.any(1))]
    candidates = torch.stack([left[0], *(before - after for before, after in pairwise(left))])

    prefix = counts.cumsum(1)
    generator = torch.Generator().manual_seed(config.seed) if generator is None else generator

    def clips_of(selector: Selector, eligible: Tensor, lengths: Tensor | None = None) -> EchoClips:
        rows, steps, weights = _choose(selector, step_entropy, eligible, index, config, generator)
        stops = prefix[rows, steps]
        lengths = stops if lengths is None else lengths[rows]
        return _cut_clips(rows, stops, lengths, weights, step_ids, step_entropy[rows, steps])

    selector = find_selector(config.select)
    if config.clip_tokens == "prefix":
        return replace(clips_of(selector, eligible), candidates=candidates)
    paper = clips_of(SELECTORS["max"], eligible)
    lengths = torch.zeros_like(index)  # length of the paper's clip, by group
    lengths = lengths.index_put_((index[paper.rows],), paper.lengths)[index]
    clips = clips_of(selector, eligible & (counts.sum(1) >= lengths)[:, None], lengths)
    shared = torch.minimum(paper.token_weights, clips.token_weights).sum().double()
    return replace(clips, candidates=candidates, overlap=shared / paper.token_weights.sum().double())


def _choose(
    selector: Selector,
    step_entropy: Tensor,
    eligible: Tensor,
    groups: Tensor,
    config: EchoConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Call a selector and check its result: rows, steps and weights (C,), sorted by row, then step.

    Raises:
        SelectorError: the selector raises an error or returns anything but eligible steps.
    """
    if step_entropy.shape[1] == 0:
        nothing = groups.new_empty(0)
        return nothing, nothing, nothing.float()
    try:
        chosen = selector(step_entropy, eligible, groups, config, generator)
    except Exception as error:
        raise SelectorError(f"echo.select = {config.select}: {type(error).__name__}: {error}") from error
    if not (isinstance(chosen, tuple) and len(chosen) == 3 and all(isinstance(item, Tensor) for item in chosen)):
        got = type(chosen).__name__ if not isinstance(chosen, tuple) else f"{len(chosen)} values"
        raise SelectorError(f"echo.select = {config.select}: expected tensors rows, steps and weights, got {got}")
    rows, steps, weights = chosen
    if not rows.shape == steps.shape == weights.shape == rows.shape[:1]:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in chosen)
        raise SelectorError(
            f"echo.select = {config.select}: expected rows, steps and weights of the same shape (C,), got {shapes}"
        )
    inside = (rows >= 0) & (rows < len(eligible)) & (steps >= 0) & (steps < eligible.shape[1])
    if not (inside.all() and eligible[rows, steps].all()):
        raise SelectorError(f"echo.select = {config.select}: expected eligible steps, got one that is not eligible")
    order = (rows * eligible.shape[1] + steps).argsort()
    return rows[order], steps[order], weights[order].float()


def _cut_clips(
    rows: Tensor, stops: Tensor, lengths: Tensor, weights: Tensor, step_ids: Tensor, step_entropies: Tensor
) -> EchoClips:
    """Build clips of `lengths` (C,) text tokens that end with text token `stops` (C,) of their row, counted from 1.

    A clip with stops < lengths is moved to the start of its row.
    """
    stops = torch.maximum(stops, lengths)[:, None]
    text = step_ids[rows] >= 0
    number = text.cumsum(1)
    inside = text & (number <= stops) & (number > stops - lengths[:, None])
    position = torch.arange(step_ids.shape[1], device=step_ids.device)
    ends = (inside * position).amax(1) if len(rows) else rows
    token_weights = torch.zeros(step_ids.shape, dtype=torch.float32, device=step_ids.device)
    token_weights.index_add_(0, rows, inside * (weights / lengths)[:, None])
    return EchoClips(rows, ends, lengths, step_entropies, weights, token_weights)


def _check_shapes(step_ids: Tensor, entropy: Tensor, *per_rollout: Tensor | None) -> None:
    if step_ids.dim() != 2 or entropy.shape != step_ids.shape:
        shapes = f"{tuple(entropy.shape)} and {tuple(step_ids.shape)}"
        raise ValueError(f"mine_echo_clips expected entropy and step_ids of the same shape (B, T), got {shapes}")
    names = ("group_ids", "verified", "truncated", "on_policy", "rewards")
    for name, tensor in zip(names, per_rollout, strict=True):
        if tensor is not None and tensor.shape != step_ids.shape[:1]:
            shape = tuple(tensor.shape)
            raise ValueError(f"mine_echo_clips expected {name} of shape ({len(step_ids)},), got {shape}")
