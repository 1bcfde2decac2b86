"""EasyR1's actor with entropies beside the old log-probs, and the echo term beside the policy loss.

EasyR1 weighs the loss of a micro-batch by its share of the optimizer step's response tokens,

    loss = (policy + kl) * micro_tokens * world / total_tokens,

and FSDP takes the mean of the gradients over `world` ranks. The echo term has a denominator of its own, N (prompts or
clips of the optimizer step), so what is added to `policy` has that factor divided out:

    term = coef * (-sum(log_probs * token_weights) / N) * step_tokens / micro_tokens.

step_tokens are the distinct response tokens of the optimizer step: under Ulysses `sp` ranks hold the same rows, and
total_tokens counts them sp times. Summed over micro-batches and ranks the gradient is coef * grad(L_echo), however the
step is split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from verl.protocol import DataProto
from verl.trainer.core_algos import average_loss
from verl.workers.actor import dp_actor
from verl.workers.actor.dp_actor import DataParallelPPOActor

from echorl_vl.core import echo_denominator, echo_loss, log_probs_and_entropy, token_entropy
from echorl_vl.core import metric_names as names
from echorl_vl.engines.easyr1.settings import EchoActorConfig
from echorl_vl.engines.rebind import rebound

WEIGHTS = "token_weights"  # (B, T) of EchoClips, in the batch
COEF = "echo_coef"  # lambda of this step, in the batch's meta_info
ENTROPY_CHUNK = 1 << 22  # logits worked on at a time: three float32 copies are 48 MiB, however long the batch


class EchoBatch(DataProto):
    """A batch whose `select`, which the update calls with a fixed list of keys, keeps the echo weights as well."""

    def select(self, batch_keys=None, non_tensor_batch_keys=None, meta_info_keys=None, deepcopy=False) -> DataProto:
        if batch_keys is not None:
            batch_keys = [*batch_keys, WEIGHTS]
        return super().select(batch_keys, non_tensor_batch_keys, meta_info_keys, deepcopy)


class EchoActor(DataParallelPPOActor):
    """The actor of `config` (EchoActorConfig). Without a coefficient in the batch an update is EasyR1's own."""

    _terms: _Terms | None = None  # of the update that is running

    def compute_log_prob(self, data: DataProto) -> Tensor:
        """(b, T, 2): log-probs and entropies (nats) of one forward pass.

        EasyR1 moves, pads and reorders its log-probs along the first axes only, so a last axis passes through.
        """
        temperature = data.meta_info["temperature"]
        with rebound(self, log_probs_from_logits=self._with_entropy(temperature)):
            return super().compute_log_prob(data)

    def update_policy(self, data: DataProto) -> dict[str, Any]:
        """The update, with the echo term where the batch brings clips and with the entropy bonus where asked for.

        Metrics: EasyR1's, `actor/pg_loss` the policy loss alone, `echo/loss` this rank's share of L_echo times the data
        ranks (so that the mean over ranks is L_echo), and on request the gradient norms of the terms.
        """
        coef = data.meta_info.get(COEF, 0.0)
        if not coef and not self.config.entropy_coef:
            return super().update_policy(data)
        tensors = dict(data.batch.items())  # what has come through Ray is locked
        tensors.setdefault(WEIGHTS, torch.zeros_like(tensors["advantages"]))
        batch = EchoBatch.from_dict(tensors, dict(data.non_tensor_batch), data.meta_info)
        steps = self._optimizer_steps(batch)
        norms = {}
        if coef and self.config.echo.log_grad_share:
            norms = self._separate_norms(batch, steps, coef)
        terms = _Terms(self.config, coef, steps)
        metrics = self._update_with(terms, batch)
        metrics["actor/pg_loss"] = torch.stack(terms.policy).tolist()
        if coef:
            data_ranks = self.world_size // self.config.ulysses_size
            share = torch.stack(terms.echo).sum().item() / (len(steps) * self.config.ppo_epochs)
            metrics[names.ECHO_LOSS] = [share * data_ranks]
        return metrics | norms

    def _update_with(self, terms: _Terms, batch: EchoBatch) -> dict[str, Any]:
        bonus = {}
        if self.config.entropy_coef:
            bonus["log_probs_from_logits"] = _with_differentiable_entropy
        self._terms = terms
        try:
            with rebound(dp_actor, compute_policy_loss=terms.policy_loss), rebound(self, **bonus):
                return super().update_policy(batch)
        finally:
            self._terms = None

    def _forward_micro_batch(self, micro_batch: dict[str, Tensor], temperature: float) -> Tensor:
        log_probs = super()._forward_micro_batch(micro_batch, temperature)
        if self._terms is None:
            return log_probs
        entropy = None
        if self.config.entropy_coef:
            log_probs, entropy = log_probs.unbind(-1)
        self._terms.micro_batch = micro_batch[WEIGHTS], entropy
        return log_probs

    def _optimizer_step(self) -> Tensor:
        if self._terms is None:
            return super()._optimizer_step()
        self._terms.done += 1
        if self._terms.keep == "all":
            return super()._optimizer_step()
        with rebound(self.actor_optimizer, step=lambda: None):  # measured only
            return super()._optimizer_step()

    def _optimizer_steps(self, data: DataProto) -> list[_Step]:
        """The optimizer steps of one epoch, with their counts over all ranks."""
        rows = self.config.global_batch_size_per_device
        step = torch.arange(len(data), device=data.batch.device) // rows  # as EasyR1 cuts them, the same on every rank
        sums = torch.zeros(2, int(step[-1]) + 1, dtype=torch.float64, device=step.device)
        sums[0].index_add_(0, step, data.batch["response_mask"].sum(-1).double())
        sums[1].index_add_(0, step, data.batch[WEIGHTS].sum(-1).double())
        dist.all_reduce(sums)
        tokens, weights = (sums / self.config.ulysses_size).tolist()
        echo = self.config.echo
        per_clip = echo.k if echo.select == "topk" else 1  # the weights of a clip add up to 1, or to 1 / k
        counts = [round(weight * per_clip) for weight in weights]
        denominators = [echo_denominator(echo, self.config.prompts_per_update, clips) for clips in counts]
        return [_Step(*pair) for pair in zip(tokens, denominators, strict=True)]

    def _with_entropy(self, temperature: float) -> Callable[..., Tensor]:
        """EasyR1's log-probs, and our entropies of the same logits, which are divided by the temperature already."""
        log_probs_from_logits = self.log_probs_from_logits
        wanted = self.config.echo.entropy_temperature or temperature

        def function(logits: Tensor, labels: Tensor) -> Tensor:
            entropy = token_entropy(logits, wanted / temperature, max(1, ENTROPY_CHUNK // logits.shape[-1]))
            return torch.stack([log_probs_from_logits(logits, labels).float(), entropy], -1)

        return function

    def _separate_norms(self, batch: EchoBatch, steps: list[_Step], coef: float) -> dict[str, list[float]]:
        """Gradient norms, before clipping, of the echo term and of the rest, at the weights that the step begins with.

        On request only: each is an update that measures where it would step.
        """
        norms: dict[str, list[float]] = {}
        for name, keep in (("actor/policy_grad_norm", "base"), ("echo/grad_norm", "echo")):
            changes = {"ppo_epochs": 1} | ({"use_kl_loss": False} if keep == "echo" else {})
            with rebound(self.config, **changes):
                norms[name] = self._update_with(_Terms(self.config, coef, steps, keep), batch)["actor/grad_norm"]
        return norms


def _with_differentiable_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probs and entropies with gradient. Both are ours: flash-attn's cross entropy overwrites the logits."""
    return torch.stack(log_probs_and_entropy(logits, labels), -1)


@dataclass(frozen=True)
class _Step:
    """An optimizer step: response tokens over all ranks, and the denominator of L_echo."""

    tokens: float
    denominator: int


class _Terms:
    """What joins EasyR1's policy loss in one update, and what it came to.

    keep: "all", or for gradient norms apart "base" (no echo term) and "echo" (nothing else).
    micro_batch: echo weights and entropies (b, T) of the micro-batch that passes now. done: optimizer steps taken.
    """

    def __init__(self, config: EchoActorConfig, coef: float, steps: list[_Step], keep: str = "all") -> None:
        self.config, self.coef, self.steps, self.keep = config, coef, steps, keep
        self.host_loss = dp_actor.compute_policy_loss
        self.micro_batch: tuple[Tensor, Tensor | None] | None = None
        self.done = 0
        self.policy: list[Tensor] = []
        self.echo: list[Tensor] = []

    def policy_loss(self, *, log_probs: Tensor, response_mask: Tensor, **arguments: Any) -> tuple[Tensor, dict]:
        """EasyR1's policy loss of the micro-batch, with the terms; its metrics."""
        weights, entropy = self.micro_batch
        loss, metrics = self.host_loss(log_probs=log_probs, response_mask=response_mask, **arguments)
        self.policy.append(loss.detach())
        if entropy is not None:
            bonus = average_loss(entropy, response_mask, mode=self.config.loss_avg_mode)
            loss = loss - self.config.entropy_coef * bonus
        if self.coef and self.keep != "base":
            step = self.steps[self.done % len(self.steps)]
            share = echo_loss(log_probs, weights, step.denominator)
            self.echo.append(share.detach())
            term = self.coef * share * step.tokens / response_mask.sum()
            loss = term if self.keep == "echo" else loss + term
        return loss, metrics
