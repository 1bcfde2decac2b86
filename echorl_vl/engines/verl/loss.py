"""The echo term in addition to verl's loss.

verl sums the losses of micro-batches and averages the gradients over `dp` ranks. Its own terms are divided by counts of
the whole optimizer step and multiplied by dp. The echo term has its own denominator N, the prompts or clips of the
optimizer step over all ranks:

    term = coef * (-sum(log_probs * token_weights) / N) * dp.

Summed over micro-batches and averaged over ranks, its gradient is coef * grad(L_echo) for any split of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.padding import no_padding_2_padding

from echorl_vl.core import echo_loss
from echorl_vl.core import metric_names as names

WEIGHTS = "token_weights"  # (B, T) of EchoClips, ragged, in the batch
COEF = "echo_coef"  # lambda of this step, in the batch's extra info
PROMPTS = "echo_prompts"  # prompts in an optimizer step, in the batch's extra info
CLIPS = "echo_clips"  # (B, 1) EchoClips of each row, ragged, in the batch with `normalize_by: clips`
DENOMINATOR = "echo_denominator"  # N, set once for each optimizer step


@dataclass(frozen=True)
class EchoLoss:
    """verl's loss function `host` of a micro-batch, plus the echo term if the batch has a coefficient."""

    host: Callable[..., tuple[Tensor, dict[str, Any]]]

    def __call__(
        self, model_output: dict[str, Tensor], data: TensorDict, dp_group: Any = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Loss and metrics. `echo/loss` sums up to L_echo of the optimizer step; `actor/pg_loss` has no echo term."""
        loss, metrics = self.host(model_output=model_output, data=data, dp_group=dp_group)
        coef = tensordict_utils.get(data, COEF, default=0.0)
        if not coef:
            return loss, metrics
        log_probs = no_padding_2_padding(model_output["log_probs"], data)
        weights = torch.nested.to_padded_tensor(data[WEIGHTS], 0.0, output_size=log_probs.shape)
        share = echo_loss(log_probs.float(), weights, tensordict_utils.get(data, DENOMINATOR)) * data["dp_size"]
        metrics[names.ECHO_LOSS] = Metric(value=share.detach(), aggregation=AggregationType.SUM)
        return loss + coef * share, metrics
