"""What joins EasyR1's policy loss: the echo term, the base algorithm's own loss, and means that EasyR1 lacks.

EasyR1 weighs the loss of a micro-batch by its share of the optimizer step's response tokens,

    loss = (policy + kl) * micro_tokens * world / total_tokens,

and FSDP takes the mean of the gradients over `world` ranks. A term with a denominator D of its own (prompts or clips of
the optimizer step, rows times the longest response, ...) has that factor divided out, so what is added to `policy` is

    term = (sum over the micro-batch / D) * step_tokens / micro_tokens.

step_tokens are the distinct response tokens of the optimizer step, of all its rows: under Ulysses `sp` ranks hold the
same rows, and total_tokens counts them sp times. Summed over micro-batches and ranks the gradient is that of sum / D,
however the step is split.
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
    """Whether the policy loss is the algorithm's own (LUFFY, SRFT) and not EasyR1's."""
    return type(algorithm).policy_loss is not Algorithm.policy_loss


@dataclass(frozen=True)
class OptimizerStepCounts:
    """An optimizer step, over all ranks.

    all_tokens: response tokens, by which EasyR1 weighs micro-batches. tokens, rows: those in the terms of the base
    algorithm. on_policy_tokens, on_policy_rows: of these, what the policy wrote itself. echo: denominator of L_echo.
    """

    all_tokens: int
    tokens: int
    rows: int
    on_policy_tokens: int
    on_policy_rows: int
    echo: int


class LossComposer:
    """The terms of one update, and what they came to.

    keep: "all", or for gradient norms apart "base" (no echo term) and "echo" (nothing else).
    done: optimizer steps taken. policy, echo, expert_prob: what each micro-batch came to, the last two as shares of
    L_echo and of the mean probability of a demonstration's token.
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
        # EasyR1's mean is not the one that is asked for: it lacks the mode, or counts rows that are not trained on.
        self.own_denominator = config.loss_avg_mode == "constant" or any(s.tokens < s.all_tokens for s in steps)
        self.host_loss = dp_actor.compute_policy_loss
        self.done = 0
        self.policy: list[Tensor] = []
        self.echo: list[Tensor] = []
        self.expert_prob: list[Tensor] = []

    def take(
        self, weights: Tensor, aux_only: Tensor, on_policy: Tensor, verified: Tensor, entropy: Tensor | None
    ) -> None:
        """Notes the micro-batch that passes now: echo weights (b, T), rows' kinds (b,), entropies (b, T) if any."""
        self._weights, self._trained, self._own, self._verified = weights, ~aux_only, on_policy, verified
        self._entropy = entropy

    def policy_loss(self, *, log_probs: Tensor, response_mask: Tensor, **arguments: Any) -> tuple[Tensor, dict]:
        """The policy loss of the micro-batch, EasyR1's or the algorithm's, with the terms; its metrics."""
        if self.own_loss:
            loss, metrics = self._algorithm_loss(log_probs, response_mask, **arguments)
        elif self.own_denominator:
            mask, by_row = response_mask * self._trained[:, None], self.config.loss_avg_mode == "seq"
            arguments["loss_avg_mode"] = "seq" if by_row else "token"
            mean, metrics = self.host_loss(log_probs=log_probs, response_mask=mask, **arguments)
            count = len(mask) if by_row else mask.sum()  # EasyR1's mean over rows takes a masked row for a 0
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
        """Mean of KL or entropy (b, T) as `loss_avg_mode` takes it, in the place of EasyR1's `average_loss`.

        It is of the policy's own rows that are trained on; where these are all and EasyR1 has the mode, it is EasyR1's.
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
        expert = mask & ~self._own[:, None]
        if step.tokens > step.on_policy_tokens:
            self.expert_prob.append(log_probs.detach().exp()[expert].sum() / (step.tokens - step.on_policy_tokens))
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
        """A share of the optimizer step, as EasyR1 has to be handed it: see the top."""
        return share * self._step.all_tokens / response_mask.sum()

    def _denominator(self, on_policy: bool = False) -> int:
        step = self._step
        rows, tokens = (step.on_policy_rows, step.on_policy_tokens) if on_policy else (step.rows, step.tokens)
        return max(1, loss_denominator(self.config.loss_avg_mode, rows, tokens, self.config.max_response_length))
