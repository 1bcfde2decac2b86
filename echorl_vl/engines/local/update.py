"""The update: mini-batches, micro-batches, and the loss

    L = L_policy + kl_coef * L_KL - entropy_coef * L_entropy + echo_coef * L_echo.

Each term is a sum over the rows of a micro-batch, divided by a denominator of the whole optimizer step: tokens or rows
for the first three, prompts for the echo term. So the gradients of the micro-batches add up to the same sum for any
split of the rows, and no term changes the weight of another. L_policy is the loss of the base algorithm; KL and entropy
are over on-policy rows. The echo term reuses the log-probs of the policy term. A rollout strategy may add a term over
prompt tokens (`PromptTerm`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from echorl_vl.algorithms import Algorithm, LossRows, make_algorithm
from echorl_vl.config import ActorConfig, Config
from echorl_vl.core import aggregate, echo_denominator, echo_loss, kl_penalty
from echorl_vl.core.policy_losses import loss_denominator
from echorl_vl.engines.local.mini_batch import MiniBatch
from echorl_vl.engines.local.optim import learning_rate
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.prompt_tokens import PromptTerm
from echorl_vl.errors import UserError
from echorl_vl.types import TrainBatch


@dataclass(frozen=True)
class Objective:
    """The loss terms of an optimizer step: the algorithm, the weights of echo and KL, and the strategy's term."""

    algorithm: Algorithm
    echo_coef: float = 0.0
    kl_coef: float = 0.0
    prompt_term: PromptTerm | None = None


class Updater:
    """Updates the policy.

    Attributes:
        total_steps: training steps of the run, the length of the learning-rate schedule.
        steps: optimizer steps so far, with skipped ones.
        taken: optimizer steps of this process that changed the policy.
        bad_steps: optimizer steps skipped in a row because the loss or its gradient was not finite.
    """

    def __init__(self, policy: Policy, optimizer: torch.optim.Optimizer, config: Config, total_steps: int) -> None:
        self.policy, self.optimizer, self.config = policy, optimizer, config
        actor = config.worker.actor
        self.algorithm = make_algorithm(config.algorithm.name, config.algorithm.options)
        self.steps_per_batch = config.data.rollout_batch_size // actor.global_batch_size * actor.ppo_epochs
        self.total_steps = total_steps
        self.steps = self.bad_steps = self.taken = 0
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def update(
        self,
        train_batch: TrainBatch,
        echo_coef: float = 0.0,
        kl_coef: float = 0.0,
        prompt_term: PromptTerm | None = None,
    ) -> dict[str, float]:
        """Runs all epochs and mini-batches of a training step.

        Args:
            train_batch: the rows to train on.
            echo_coef: lambda of this step; 0 leaves out the echo term.
            kl_coef: weight of the KL term, with `algorithm.use_kl_loss`.
            prompt_term: a loss term of the rollout strategy.

        Returns:
            Metrics: means over optimizer steps.

        Raises:
            UserError: `trainer.max_bad_steps` optimizer steps in a row were not finite.
        """
        objective = Objective(self.algorithm, echo_coef, kl_coef, prompt_term)
        metrics: dict[str, list[float]] = defaultdict(list)
        for _ in range(self.config.worker.actor.ppo_epochs):
            for batch in self._mini_batches(train_batch):
                for name, value in self._optimizer_step(train_batch, batch, objective).items():
                    metrics[name].append(value)
        skipped = metrics.pop("actor/skipped_steps")
        means = {}
        for name, values in metrics.items():
            finite = [value for value in values if math.isfinite(value)]
            means[name] = sum(finite) / len(finite) if finite else math.nan
        return means | {"actor/skipped_steps": sum(skipped)}

    def fine_tune(self, train_batch: TrainBatch, algorithm: Algorithm) -> dict[str, float]:
        """Runs one optimizer step on all rows with the loss of another algorithm (SFT).

        It uses the current learning rate and does not advance its schedule. If it is not finite, it counts as one of
        `bad_steps`.

        Returns:
            Metrics, prefixed with the name of the algorithm.
        """
        steps, batch = self.steps, MiniBatch.from_groups(train_batch, 0, len(train_batch.rollouts.prompts))
        try:
            metrics = self._optimizer_step(train_batch, batch, Objective(algorithm))
        finally:
            self.steps = steps
        ours = {name: value for name, value in metrics.items() if not name.startswith("actor/")}
        return ours | {f"{algorithm.name}/{name}": metrics[f"actor/{name}"] for name in ("grad_norm", "skipped_steps")}

    def _mini_batches(self, train_batch: TrainBatch) -> list[MiniBatch]:
        """Mini-batches of `global_batch_size` whole groups each, in order."""
        size, prompts = self.config.worker.actor.global_batch_size, len(train_batch.rollouts.prompts)
        return [
            MiniBatch.from_groups(train_batch, first, min(first + size, prompts)) for first in range(0, prompts, size)
        ]

    def _optimizer_step(self, train_batch: TrainBatch, batch: MiniBatch, objective: Objective) -> dict[str, float]:
        rate = learning_rate(self.config.worker.actor.optim, self.steps // self.steps_per_batch, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for rows in self._micro_batches(batch):
            terms = self._losses(train_batch, rows, batch, objective)
            terms["loss"].backward()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.detach()
        norms = {}
        if objective.echo_coef and self.config.echo.log_grad_share:
            norms = self._separate_norms(train_batch, batch, objective)
        grad_norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.worker.actor.max_grad_norm)
        finite = bool(torch.isfinite(grad_norm)) and bool(torch.isfinite(sums["loss"]))
        if finite:
            self.optimizer.step()
            self.taken += 1
        self._count(finite, float(sums["loss"]), float(grad_norm))
        self.optimizer.zero_grad(set_to_none=True)
        metrics = {name: value.item() for name, value in sums.items() if name != "loss"}
        metrics |= {"actor/grad_norm": grad_norm.item(), "actor/lr": rate, "actor/skipped_steps": float(not finite)}
        if norms:
            metrics |= norms | {"echo/grad_share": norms["echo/grad_norm"] / max(grad_norm.item(), 1e-12)}
        return metrics

    def _losses(
        self, train_batch: TrainBatch, rows: range, batch: MiniBatch, objective: Objective
    ) -> dict[str, Tensor]:
        """The loss of some rows, its terms and statistics, as parts of the sums over the whole mini-batch."""
        actor, settings, rollouts = self.config.worker.actor, self.config.algorithm, train_batch.rollouts
        algorithm = objective.algorithm
        part = slice(rows.start, rows.stop)
        on_policy = rollouts.is_on_policy[part]
        mask = rollouts.response_mask[part]
        if rollouts.aux_only is not None:
            mask = mask & ~rollouts.aux_only[part][:, None]
        prompt_tokens = None
        if objective.prompt_term is not None:
            prompt_tokens = objective.prompt_term.tokens(rollouts, rows, batch.rows)
        scores = self.policy.score(
            rollouts,
            rows,
            self.config.worker.rollout.temperature,
            with_grad_entropy=actor.entropy_coef > 0 and batch.on_policy_tokens > 0,
            packed=actor.padding_free,
            prompt_tokens=prompt_tokens,
        )
        log_probs, entropy = scores.log_probs, scores.entropy
        loss_rows = LossRows(
            log_probs,
            rollouts.log_probs[part],
            train_batch.advantages[part],
            mask,
            on_policy,
            train_batch.verified[part],
            entropy.detach(),
        )
        result = algorithm.policy_loss(loss_rows, **_clip(actor))

        mode, on_policy_mask = actor.loss_avg_mode, mask & on_policy[:, None]
        loss = aggregate(result.loss, mask, mode, max(1, self._denominator(batch.rollouts, batch.tokens)))
        if not batch.on_policy_tokens and not on_policy.any():
            terms = {f"{algorithm.name}/loss": loss}
        else:

            def on_policy_mean(values: Tensor) -> Tensor:
                denominator = self._denominator(batch.on_policy_rollouts, batch.on_policy_tokens)
                # The denominator is 0 if all rows are in the echo term alone.
                return aggregate(values, on_policy_mask, mode, max(1, denominator))

            def on_policy_share(values: Tensor) -> Tensor:
                return aggregate(values.detach().float(), on_policy_mask, "token", max(1, batch.on_policy_tokens))

            terms = {
                "actor/pg_loss": loss,
                "actor/pg_clipfrac_higher": on_policy_share(result.clipped_high),
                "actor/pg_clipfrac_lower": on_policy_share(result.clipped_low),
                "actor/ppo_kl": on_policy_share(result.kl),
                "actor/entropy": on_policy_share(entropy),
            }
            if settings.use_kl_loss and train_batch.ref_log_probs is not None:
                kl = kl_penalty(log_probs, train_batch.ref_log_probs[part], settings.kl_penalty)
                terms["actor/kl_loss"] = on_policy_mean(kl)
                loss = loss + objective.kl_coef * terms["actor/kl_loss"]
            if actor.entropy_coef:
                loss = loss - actor.entropy_coef * on_policy_mean(entropy)
        if batch.tokens > batch.on_policy_tokens:
            off_policy_mask = mask & ~on_policy[:, None]
            prob = log_probs.detach().exp()
            terms["expert/prob"] = aggregate(prob, off_policy_mask, "token", batch.tokens - batch.on_policy_tokens)
        if prompt_tokens is not None:
            term = objective.prompt_term
            terms[term.metric] = scores.prompt_nll / prompt_tokens.denominator
            loss = loss + term.coef * terms[term.metric]
        if objective.echo_coef and train_batch.clips is not None:
            denominator = echo_denominator(self.config.echo, batch.prompts, batch.clips)
            terms["echo/loss"] = echo_loss(log_probs, train_batch.clips.token_weights[part], denominator)
            loss = loss + objective.echo_coef * terms["echo/loss"]
        return terms | {"loss": loss}

    def _denominator(self, rollouts: int, tokens: int) -> int:
        mode = self.config.worker.actor.loss_avg_mode
        return loss_denominator(mode, rollouts, tokens, self.config.data.max_response_length)

    def _separate_norms(self, train_batch: TrainBatch, batch: MiniBatch, objective: Objective) -> dict[str, float]:
        """Gradient norms, before clipping, of the weighted echo term and of the sum of the other terms.

        This takes another forward and backward pass for the echo term; the gradient of the other terms is the
        difference. The gradients of the parameters are unchanged afterwards.
        """
        whole = [parameter.grad for parameter in self._parameters]
        self.optimizer.zero_grad(set_to_none=True)
        for rows in self._micro_batches(batch):
            terms = self._losses(train_batch, rows, batch, objective)
            (objective.echo_coef * terms["echo/loss"]).backward()
        echo = [parameter.grad for parameter in self._parameters]
        for parameter, gradient in zip(self._parameters, whole, strict=True):
            parameter.grad = gradient
        both = [(one, other) for one, other in zip(whole, echo, strict=True) if one is not None]
        others = [one if other is None else one - other for one, other in both]
        return {"actor/policy_grad_norm": _norm(others), "echo/grad_norm": _norm(echo)}

    def _micro_batches(self, batch: MiniBatch) -> list[range]:
        size = self.config.worker.actor.micro_batch_size_per_device_for_update
        return [
            range(first, min(first + size, batch.rows.stop)) for first in range(batch.rows.start, batch.rows.stop, size)
        ]

    def _count(self, finite: bool, loss: float, grad_norm: float) -> None:
        self.steps += 1
        self.bad_steps = 0 if finite else self.bad_steps + 1
        if self.bad_steps >= self.config.trainer.max_bad_steps:
            raise UserError(
                f"the last {self.bad_steps} optimizer steps were not finite (loss {loss}, gradient norm {grad_norm}) "
                "and were skipped: lower worker.actor.optim.lr, or look at the reward and the model. "
                f"Raise trainer.max_bad_steps (now {self.config.trainer.max_bad_steps}) to allow more; to change the "
                "learning rate, start from the last checkpoint with trainer.load_checkpoint_path=.../global_step_N and "
                "another trainer.save_checkpoint_path."
            )


def _clip(actor: ActorConfig) -> dict[str, Any]:
    """The clip arguments of `core.policy_losses`."""
    return {
        "clip_low": actor.clip_ratio_low,
        "clip_high": actor.clip_ratio_high,
        "clip_dual": actor.clip_ratio_dual,
        "loss_type": actor.loss_type,
        "tau_positive": actor.tau_positive,
        "tau_negative": actor.tau_negative,
    }


def _norm(gradients: list[Tensor | None]) -> float:
    present = [gradient.detach().norm() for gradient in gradients if gradient is not None]
    return torch.stack(present).norm().item() if present else 0.0
