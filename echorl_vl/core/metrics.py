"""What EchoRL did in a step, as numbers under the names in `metric_names`.

`echo/loss`, `echo/coef` and `echo/grad_share` come from the update, the group shares from `groups.group_statistics`.
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
    """Metrics of the mining of one batch.

    `echo/clip_tokens`, `echo/clip_share` and `echo/clip_step_entropy` are means over clips, and absent when there is
    none; so is `echo/overlap_with_paper`, which `clip_tokens: as_max` brings. `echo/step_entropy_max` and `_mean` are
    over *all* steps of all rollouts, mined or not: what the clips' can be compared with, and never to be shown as
    theirs. `echo/verified` and `echo/left_out_*` say what the clips were chosen from, and so why there is none.

    Args:
        clips: from `mine_echo_clips`.
        step_ids: (B, T) int64.
        entropy: (B, T) nats.
        response_lengths: (B,) tokens that the policy wrote in each rollout.
        rollouts: rollouts that were split into steps; None: all B rows.
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
