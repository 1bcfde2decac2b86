"""KL divergence from the reference policy, which is the policy before training."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
from torch import Tensor

from echorl_vl.config import AlgorithmConfig, Config
from echorl_vl.core import kl_penalty
from echorl_vl.engines.local.policy import Policy
from echorl_vl.types import RolloutBatch


class Reference:
    """The policy before training: the base model with LoRA, otherwise a second, frozen copy."""

    def __init__(self, policy: Policy, config: Config) -> None:
        self._adapter = policy if config.worker.actor.model.lora.rank > 0 else None
        self._packed = config.worker.actor.padding_free
        self._rows = config.worker.actor.micro_batch_size_per_device_for_experience
        self._policy = policy
        if self._adapter is None:
            model = copy.deepcopy(config.worker.actor.model)
            model.enable_gradient_checkpointing = False
            dtypes = config.worker.actor.fsdp
            self._policy = Policy.load(model, policy.device, dtypes.mp_param_dtype, dtypes.torch_dtype)
            self._policy.model.requires_grad_(False)

    @torch.no_grad()
    def log_probs(self, rollouts: RolloutBatch, temperature: float) -> Tensor:
        """(B, T) log-probs of the rollouts, float32, 0 outside the response."""
        without_adapter = self._adapter.model.disable_adapter() if self._adapter else nullcontext()
        parts = []
        with without_adapter:
            for first in range(0, len(rollouts.tokens), self._rows):
                rows = range(first, min(first + self._rows, len(rollouts.tokens)))
                parts.append(self._policy.response_log_probs(rollouts, rows, temperature, packed=self._packed)[0])
        return torch.cat(parts)


class KLController:
    """The weight of the KL in the reward: fixed, or adapted to reach `kl_target` (arXiv 1909.08593, section 2.2).

    As in EasyR1, the target is the mean over rollouts of their mean over tokens, in nats. The weight of a KL in the
    loss is always fixed.
    """

    def __init__(self, config: AlgorithmConfig) -> None:
        self._config = config
        self.coef = config.kl_coef

    def update(self, kl: float, rollouts: int) -> None:
        """Adapts the weight after a step with `rollouts` rollouts and a mean KL of `kl` nats per token."""
        if self._config.kl_type == "adaptive":
            error = min(max(kl / self._config.kl_target - 1, -0.2), 0.2)
            self.coef *= 1 + error * rollouts / self._config.kl_horizon


def kl_of_tokens(rollouts: RolloutBatch, ref_log_probs: Tensor, kind: str) -> Tensor:
    """(B, T) KL estimate of each response token, in nats; 0 in off-policy rows, which the policy did not sample."""
    own = rollouts.response_mask & rollouts.is_on_policy[:, None]
    return torch.where(own, kl_penalty(rollouts.log_probs, ref_log_probs, kind), 0.0)
