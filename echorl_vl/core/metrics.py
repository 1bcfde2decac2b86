"""What EchoRL did in a step, as numbers under the names in `metric_names`.

`echo/loss`, `echo/coef` and `echo/grad_share` come from the update, the group shares from `groups.group_statistics`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import metric_names as names
from .entropy import step_entropies
from .mining import EchoClips


@torch.no_grad()
def echo_metrics(
    clips: EchoClips, step_ids: Tensor, entropy: Tensor, response_lengths: Tensor, rollouts: int | None = None
) -> dict[str, float]:
    """Metrics of the mining of one batch.

    `echo/clip_tokens` and `echo/clip_share` are means over clips, 0 when there is none. The step entropies are the
    highest and the mean over *all* steps of all rollouts, mined or not, so that they can be compared with what was
    chosen.

    Args:
        clips: from `mine_echo_clips`.
        step_ids: (B, T) int64.
        entropy: (B, T) nats.
        response_lengths: (B,) tokens that the policy wrote in each rollout.
        rollouts: rollouts that were split into steps; None: all B rows.
    """
    means = step_entropies(entropy, step_ids)
    means = means[~means.isnan()]
    share = clips.lengths / response_lengths.to(clips.lengths.device)[clips.rows]
    return {
        names.ECHO_CLIPS: float(len(clips)),
        names.ECHO_CLIP_TOKENS: _mean(clips.lengths),
        names.ECHO_CLIP_SHARE: _mean(share),
        names.ECHO_STEP_ENTROPY_MAX: means.max().item() if len(means) else 0.0,
        names.ECHO_STEP_ENTROPY_MEAN: _mean(means),
        names.ECHO_STEPS_PER_ROLLOUT: len(means) / max(1, len(step_ids) if rollouts is None else rollouts),
    }


def _mean(values: Tensor) -> float:
    return values.double().mean().item() if values.numel() else 0.0
