"""EasyR1's actor, which also computes entropies with the old log-probs, and adds the terms of `loss` to its update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from verl.protocol import DataProto
from verl.workers.actor import dp_actor
from verl.workers.actor.dp_actor import DataParallelPPOActor

from echorl_vl.algorithms import Algorithm, make_algorithm
from echorl_vl.core import echo_denominator, log_probs_and_entropy, token_entropy
from echorl_vl.core import metric_names as names
from echorl_vl.engines.easyr1.loss import LossComposer, OptimizerStepCounts, has_own_loss
from echorl_vl.engines.easyr1.settings import ON_POLICY
from echorl_vl.engines.ray.hooks import patched

WEIGHTS = "token_weights"  # (B, T) of EchoClips, in the batch
CLIPS = "echo_clips"  # (B,) int64, EchoClips in each row
VERIFIED = "verified"  # (B,) bool, the answer is correct
AUX_ONLY = "aux_only"  # (B,) bool, in the echo term only and in no term of the base algorithm
COEF = "echo_coef"  # lambda of this step, in the batch's meta_info
ENTROPY_CHUNK = 1 << 22  # logits per chunk: three float32 copies of it are 48 MiB


class EchoBatch(DataProto):
    """A batch that keeps our columns when the update selects its own fixed list of keys."""

    def select(self, batch_keys: list[str] | None = None, *rest: Any, **options: Any) -> DataProto:
        if batch_keys is not None:
            batch_keys = [*batch_keys, WEIGHTS, CLIPS, ON_POLICY, VERIFIED, AUX_ONLY]
        return super().select(batch_keys, *rest, **options)


class EchoActor(DataParallelPPOActor):
    """EasyR1's actor with the loss terms of `EchoActorConfig`. Without any of them, an update is EasyR1's own."""

    _terms: LossComposer | None = None  # set during an update

    def compute_log_prob(self, data: DataProto) -> Tensor:
        """Log-probs and entropies (nats) of one forward pass, (b, T, 2).

        EasyR1 pads and reorders log-probs along the first two axes only, so a last axis passes through.
        """
        temperature = data.meta_info["temperature"]
        of_entropy = self.config.echo.entropy_temperature or temperature
        with patched(self, log_probs_from_logits=self._with_entropy(of_entropy / temperature)):
            return super().compute_log_prob(data)

    def update_policy(self, data: DataProto) -> dict[str, Any]:
        """EasyR1's update with the echo term, if the batch has clips, and with the algorithm's own loss and mean.

        Returns:
            EasyR1's metrics, where `actor/pg_loss` is the policy loss without other terms; `echo/loss`, this rank's
            share of L_echo times the number of data ranks, so that the mean over ranks is L_echo; and, with
            `echo.log_grad_share`, the gradient norms of the terms.
        """
        coef = data.meta_info.get(COEF, 0.0)
        config = self.config
        algorithm = make_algorithm(config.algorithm, config.algorithm_options)
        tensors = dict(data.batch.items())  # a TensorDict from Ray is locked
        is_plain = not has_own_loss(algorithm) and config.loss_avg_mode != "constant" and AUX_ONLY not in tensors
        if is_plain and not coef and not config.entropy_coef:
            return super().update_policy(data)
        tensors.setdefault(WEIGHTS, torch.zeros_like(tensors["advantages"]))
        none = torch.zeros(len(data), dtype=torch.bool, device=tensors["advantages"].device)
        for name, column in ((CLIPS, none.long()), (ON_POLICY, ~none), (VERIFIED, none), (AUX_ONLY, none)):
            tensors.setdefault(name, column)
        batch = EchoBatch.from_dict(tensors, dict(data.non_tensor_batch), data.meta_info)
        steps = self._optimizer_steps(batch)
        norms = {}
        if coef and config.echo.log_grad_share:
            norms = self._separate_norms(batch, steps, coef, algorithm)
        terms = LossComposer(config, coef, steps, algorithm)
        metrics = self._update_with(terms, batch)
        metrics["actor/pg_loss"] = torch.stack(terms.policy).tolist()
        data_ranks, count = self.world_size // config.ulysses_size, len(steps) * config.ppo_epochs
        for name, shares in ((names.ECHO_LOSS, terms.echo), ("expert/prob", terms.demonstration_prob)):
            if shares:  # of this rank, scaled so that the mean over ranks is the total
                metrics[name] = [torch.stack(shares).sum().item() / count * data_ranks]
        return metrics | norms

    def _update_with(self, terms: LossComposer, batch: EchoBatch) -> dict[str, Any]:
        entropy = {}
        if self.config.entropy_coef:
            entropy["log_probs_from_logits"] = _with_differentiable_entropy
        elif terms.own_loss:
            entropy["log_probs_from_logits"] = self._with_entropy(1.0)
        self._terms = terms
        losses = {"compute_policy_loss": terms.policy_loss, "average_loss": terms.own_mean}
        try:
            with patched(dp_actor, **losses), patched(self, **entropy):
                return super().update_policy(batch)
        finally:
            self._terms = None

    def _forward_micro_batch(self, micro_batch: dict[str, Tensor], temperature: float) -> Tensor:
        log_probs = super()._forward_micro_batch(micro_batch, temperature)
        if self._terms is None:
            return log_probs
        entropy = None
        if log_probs.dim() == 3:
            log_probs, entropy = log_probs.unbind(-1)
        kinds = (micro_batch[name] for name in (AUX_ONLY, ON_POLICY, VERIFIED))
        self._terms.take(micro_batch[WEIGHTS], *kinds, entropy)
        return log_probs

    def _optimizer_step(self) -> Tensor:
        if self._terms is None:
            return super()._optimizer_step()
        self._terms.done += 1
        if self._terms.keep == "all":
            return super()._optimizer_step()
        with patched(self.actor_optimizer, step=lambda: None):  # only measure the gradient norm
            return super()._optimizer_step()

    def _optimizer_steps(self, data: DataProto) -> list[OptimizerStepCounts]:
        """Counts of each optimizer step of an epoch, over all ranks."""
        rows = self.config.global_batch_size_per_device
        batch = data.batch
        step = torch.arange(len(data), device=batch.device) // rows  # split as in EasyR1, alike on every rank
        tokens, trained = batch["response_mask"].sum(-1), ~batch[AUX_ONLY]
        own = trained & batch[ON_POLICY]
        counts = torch.stack([tokens, tokens * trained, trained, tokens * own, own, batch[CLIPS]])
        sums = torch.zeros(len(counts), int(step[-1]) + 1, dtype=torch.long, device=step.device)
        sums.index_add_(1, step, counts.long())
        dist.all_reduce(sums)
        echo, prompts = self.config.echo, self.config.prompts_per_update
        of_each_step = (sums // self.config.ulysses_size).T.tolist()  # ranks that share a sequence hold the same rows
        return [
            OptimizerStepCounts(*counted, echo_denominator(echo, prompts, clips)) for *counted, clips in of_each_step
        ]

    def _with_entropy(self, temperature: float) -> Callable[..., Tensor]:
        """A function for EasyR1's log-probs and our entropies (without gradient) of logits divided by `temperature`.

        The logits have already been divided by the sampling temperature. Entropies are computed first, since
        flash-attn's cross entropy overwrites the logits.
        """
        log_probs_from_logits = self.log_probs_from_logits

        def function(logits: Tensor, labels: Tensor) -> Tensor:
            entropy = token_entropy(logits, temperature, max(1, ENTROPY_CHUNK // logits.shape[-1]))
            return torch.stack([log_probs_from_logits(logits, labels).float(), entropy], -1)

        return function

    def _separate_norms(
        self, batch: EchoBatch, steps: list[OptimizerStepCounts], coef: float, algorithm: Algorithm
    ) -> dict[str, list[float]]:
        """Gradient norms, before clipping, of the echo term and of all other terms, at the weights before the update.

        Each takes a forward and backward pass of the whole update, without optimizer steps.
        """
        norms: dict[str, list[float]] = {}
        for name, keep in (("actor/policy_grad_norm", "base"), ("echo/grad_norm", "echo")):
            changes = {"ppo_epochs": 1} | ({"use_kl_loss": False} if keep == "echo" else {})
            with patched(self.config, **changes):
                norms[name] = self._update_with(LossComposer(self.config, coef, steps, algorithm, keep), batch)[
                    "actor/grad_norm"
                ]
        return norms


def _with_differentiable_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probs and entropies with gradient. Both are ours, since flash-attn's cross entropy overwrites the logits."""
    return torch.stack(log_probs_and_entropy(logits, labels), -1)
