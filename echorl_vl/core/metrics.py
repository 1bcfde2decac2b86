"""Metrics of mining, under the names in `metric_names`.

`echo/loss`, `echo/coef` and `echo/grad_share` come from the update, `group/*` from `groups.group_statistics`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import metric_names as names
from .entropy import step_entropies
from .mining import EchoClips

_CANDIDATES = (
    names.ECHO_VERIFIED,
    names.ECHO_LEFT_OUT_TRUNCATED,
    names.ECHO_LEFT_OUT_MIXED,
    names.ECHO_LEFT_OUT_SHORT,
)


@torch.no_grad()
def echo_metrics(
    clips: EchoClips, step_ids: Tensor, entropy: Tensor, response_lengths: Tensor, rollouts: int | None = None
) -> dict[str, float]:
    """Compute the mining metrics of one batch.

    `echo/clip_tokens`, `echo/clip_share` and `echo/clip_step_entropy` are means over clips. Without clips they are left
    out, as is `echo/overlap_with_paper` (logged with `clip_tokens: as_max`). `echo/step_entropy_max` and `_mean` cover
    *all* steps of all rollouts, mined or not; they are a baseline for the entropies of the clips. `echo/verified` and
    `echo/left_out_*` count the candidates, which explains why a batch has few or no clips.

    Args:
        clips: the result of `mine_echo_clips`.
        step_ids: (B, T) int64.
        entropy: (B, T) nats.
        response_lengths: (B,) generated tokens of each rollout.
        rollouts: number of rollouts that were split into steps; None: all B rows.
    """
    means = step_entropies(entropy, step_ids)
    means = means[~means.isnan()]
    metrics = {names.ECHO_CLIPS: float(len(clips))}
    if len(clips):
        share = clips.lengths / response_lengths.to(clips.lengths.device)[clips.rows]
        metrics |= {
            names.ECHO_CLIP_TOKENS: _mean(clips.lengths),
            names.ECHO_CLIP_SHARE: _mean(share),
            names.ECHO_CLIP_STEP_ENTROPY: _mean(clips.step_entropies),
        }
        if clips.overlap is not None:
            metrics[names.ECHO_OVERLAP] = clips.overlap.item()
    if clips.candidates is not None:
        metrics |= dict(zip(_CANDIDATES, clips.candidates.double().tolist(), strict=True))
    return metrics | {
        names.ECHO_STEP_ENTROPY_MAX: means.max().item() if len(means) else 0.0,
        names.ECHO_STEP_ENTROPY_MEAN: _mean(means),
        names.ECHO_STEPS_PER_ROLLOUT: len(means) / max(1, len(step_ids) if rollouts is None else rollouts),
    }


def _mean(values: Tensor) -> float:
    return values.double().mean().item() if values.numel() else 0.0
