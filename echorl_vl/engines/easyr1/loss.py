"""Terms that the adapter adds to EasyR1's policy loss: the echo term, the algorithm's own loss, further means.

EasyR1 weighs the loss of a micro-batch by its share of the optimizer step's response tokens,

    loss = (policy + kl) * micro_tokens * world / total_tokens,

and FSDP averages the gradients over `world` ranks. For a term with another denominator D (prompts or clips of the
optimizer step, rows times the longest response, ...) that factor is divided out, so that `policy` is increased by

    term = (sum over the micro-batch / D) * step_tokens / micro_tokens.

step_tokens are the distinct response tokens of the optimizer step: under Ulysses, `sp` ranks hold the same rows, and
total_tokens counts them sp times. Summed over micro-batches and ranks, the gradient is that of sum / D for any split of
the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from verl.trainer.core_algos import average_loss
from verl.workers.actor import dp_actor

from echorl_vl.algorithms import Algorithm, LossRows
from echorl_vl.core import aggregate, echo_loss
from echorl_vl.core.policy_losses import loss_denominator
from echorl_vl.engines.easyr1.settings import EchoActorConfig


def has_own_loss(algorithm: Algorithm) -> bool:
    """Whether the algorithm replaces EasyR1's policy loss (LUFFY, SRFT)."""
    return type(algorithm).policy_loss is not Algorithm.policy_loss


@dataclass(frozen=True)
class OptimizerStepCounts:
    """Counts of an optimizer step, over all ranks.

    Attributes:
        all_tokens: response tokens, by which EasyR1 weighs micro-batches.
        tokens: response tokens in the terms of the base algorithm.
        rows: rows in the terms of the base algorithm.
        on_policy_tokens: tokens of `tokens` that the policy wrote.
        on_policy_rows: rows of `rows` that the policy wrote.
        echo: denominator of L_echo.
    """

    all_tokens: int
    tokens: int
    rows: int
    on_policy_tokens: int
    on_policy_rows: int
    echo: int


class LossComposer:
    """The loss terms of one update, and their values.

    Args:
        config: the actor's configuration.
        coef: lambda of this step.
        steps: counts of the optimizer steps.
        algorithm: the base algorithm.
        keep: "all" terms; for separate gradient norms, "base" (no echo term) or "echo" (only the echo term).

    Attributes:
        done: number of optimizer steps taken.
        policy: policy loss of each micro-batch.
        echo: share of L_echo of each micro-batch.
        demonstration_prob: share of each micro-batch in the mean probability of a demonstration's token.
    """

    def __init__(
        self,
        config: EchoActorConfig,
        coef: float,
        steps: list[OptimizerStepCounts],
        algorithm: Algorithm,
        keep: str = "all",
    ) -> None:
        self.config, self.coef, self.steps, self.algorithm, self.keep = config, coef, steps, algorithm, keep
        self.own_loss = has_own_loss(algorithm)
        # EasyR1's mean doesn't fit: it lacks the mode, or would count rows that are not trained on.
        self.own_denominator = config.loss_avg_mode == "constant" or any(s.tokens < s.all_tokens for s in steps)
        self.host_loss = dp_actor.compute_policy_loss
        self.done = 0
        self.policy: list[Tensor] = []
        self.echo: list[Tensor] = []
        self.demonstration_prob: list[Tensor] = []

    def take(
        self, weights: Tensor, aux_only: Tensor, on_policy: Tensor, verified: Tensor, entropy: Tensor | None
    ) -> None:
        """Keep the columns of the current micro-batch: weights and entropy are (b, T), the others (b,)."""
        self._weights, self._trained, self._own, self._verified = weights, ~aux_only, on_policy, verified
        self._entropy = entropy

    def policy_loss(self, *, log_probs: Tensor, response_mask: Tensor, **arguments: Any) -> tuple[Tensor, dict]:
        """Loss of the current micro-batch with all terms, and the metrics of its policy loss."""
        if self.own_loss:
            loss, metrics = self._algorithm_loss(log_probs, response_mask, **arguments)
        elif self.own_denominator:
            mask, by_row = response_mask * self._trained[:, None], self.config.loss_avg_mode == "seq"
            arguments["loss_avg_mode"] = "seq" if by_row else "token"
            mean, metrics = self.host_loss(log_probs=log_probs, response_mask=mask, **arguments)
            count = len(mask) if by_row else mask.sum()  # EasyR1's mean over rows counts a masked row as 0
            loss = self._share(mean * count / self._denominator(), response_mask)
        else:
            loss, metrics = self.host_loss(log_probs=log_probs, response_mask=response_mask, **arguments)
        self.policy.append(loss.detach())
        if self.config.entropy_coef:
            loss = loss - self.config.entropy_coef * self.own_mean(self._entropy, response_mask)
        if self.coef and self.keep != "base":
            echo = echo_loss(log_probs, self._weights, self._step.echo)
            self.echo.append(echo.detach())
            term = self._share(self.coef * echo, response_mask)
            loss = term if self.keep == "echo" else loss + term
        return loss, metrics

    def own_mean(self, values: Tensor, mask: Tensor, eps: float = 1e-8, **_: Any) -> Tensor:
        """Mean of KL or entropy (b, T) by `loss_avg_mode`, which replaces EasyR1's `average_loss`.

        The mean is over the on-policy rows that are trained on. If these are all rows and EasyR1 has the mode, it is
        EasyR1's own.
        """
        if not self.own_loss and not self.own_denominator:
            return average_loss(values, mask, mode=self.config.loss_avg_mode, eps=eps)
        inside = mask.bool() & (self._trained & self._own)[:, None]
        denominator = self._denominator(on_policy=True)
        return self._share(aggregate(values, inside, self.config.loss_avg_mode, denominator), mask)

    def _algorithm_loss(
        self, log_probs: Tensor, response_mask: Tensor, old_log_probs: Tensor, advantages: Tensor, **_: Any
    ) -> tuple[Tensor, dict[str, float]]:
        config, step, mask = self.config, self._step, response_mask.bool() & self._trained[:, None]
        rows = LossRows(log_probs, old_log_probs, advantages, mask, self._own, self._verified, self._entropy.detach())
        result = self.algorithm.policy_loss(
            rows,
            clip_low=config.clip_ratio_low,
            clip_high=config.clip_ratio_high,
            clip_dual=config.clip_ratio_dual,
            loss_type=config.loss_type,
            tau_positive=config.tau_positive,
            tau_negative=config.tau_negative,
        )
        loss = aggregate(result.loss, mask, config.loss_avg_mode, self._denominator())
        demonstrated = mask & ~self._own[:, None]
        if step.tokens > step.on_policy_tokens:
            total = log_probs.detach().exp()[demonstrated].sum()
            self.demonstration_prob.append(total / (step.tokens - step.on_policy_tokens))
        own = mask & self._own[:, None]
        measured = {
            "pg_clipfrac_higher": result.clipped_high,
            "pg_clipfrac_lower": result.clipped_low,
            "ppo_kl": result.kl,
            "entropy_loss": -log_probs,
        }
        count = own.sum().clamp(min=1)
        metrics = {name: (values.detach().float()[own].sum() / count).item() for name, values in measured.items()}
        return self._share(loss, response_mask), metrics

    @property
    def _step(self) -> OptimizerStepCounts:
        return self.steps[self.done % len(self.steps)]

    def _share(self, share: Tensor, response_mask: Tensor) -> Tensor:
        """Scale a micro-batch's share of a term for EasyR1: see the module's docstring."""
        return share * self._step.all_tokens / response_mask.sum()

    def _denominator(self, on_policy: bool = False) -> int:
        step = self._step
        rows, tokens = (step.on_policy_rows, step.on_policy_tokens) if on_policy else (step.rows, step.tokens)
        return max(1, loss_denominator(self.config.loss_avg_mode, rows, tokens, self.config.max_response_length))
