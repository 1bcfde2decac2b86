"""verl's workers, with the echo term in the actor's loss. Each is one process on one GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from tensordict import TensorDict
from verl.utils import tensordict_utils
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

from echorl_vl.engines.verl.loss import CLIPS, COEF, DENOMINATOR, PROMPTS, EchoLoss

SKIPPED = "skipped_share"  # 1 for an optimizer step that was not finite; verl averages it over a training step
BAD_IN_ROW = (
    "bad_in_row_max"  # number of such steps in a row; verl takes the maximum of metrics with "max" in their names
)


class EchoTrainingWorker(TrainingWorker):
    """The actor. Without a coefficient in the batch, an update is verl's, bit for bit."""

    bad_in_row = 0

    def set_loss_fn(self, loss_fn: Callable[..., Any]) -> None:
        """Set verl's loss function, wrapped to add the echo term."""
        super().set_loss_fn(EchoLoss(loss_fn))

    def train_batch(self, data: TensorDict) -> TensorDict | None:
        """One optimizer step on this rank's rows.

        The denominator N is counted here, since verl only splits a training step into optimizer steps in the worker.
        """
        if tensordict_utils.get(data, COEF, default=0.0):
            tensordict_utils.assign_non_tensor(data, **{DENOMINATOR: self._denominator(data)})
        output = super().train_batch(data)
        if output is None:  # a rank whose output is not used
            return None
        metrics = tensordict_utils.get(output, "metrics")
        bad = not math.isfinite(metrics["grad_norm"])
        self.bad_in_row = self.bad_in_row + 1 if bad else 0
        metrics |= {SKIPPED: float(bad), BAD_IN_ROW: float(self.bad_in_row)}
        tensordict_utils.assign_non_tensor(output, metrics=metrics)
        return output

    def _denominator(self, data: TensorDict) -> int:
        if CLIPS not in data.keys():  # noqa: SIM118  (a TensorDict has no `in`)
            return tensordict_utils.get(data, PROMPTS)
        clips = data[CLIPS].values().sum().to(self.device_name)
        dist.all_reduce(clips, group=self.engine.get_data_parallel_group())
        return max(1, int(clips))


class EchoWorker(ActorRolloutRefWorker):
    """verl's worker for all roles, with our actor. The reference policy is verl's."""

    actor_worker_cls = EchoTrainingWorker
