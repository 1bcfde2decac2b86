"""`EchoGRPOTrainer`: TRL's trainer with the echo term in its loss."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from echorl_vl.core import (
    EchoConfig,
    echo_coef,
    echo_denominator,
    echo_loss,
    echo_metrics,
    group_statistics,
    make_splitter,
    mine_echo_clips,
    step_ids,
    token_entropy,
    verified_rollouts,
)
from echorl_vl.core.metric_names import ECHO_COEF, ECHO_LOSS
from echorl_vl.core.seeds import step_generator
from echorl_vl.errors import UserError
from echorl_vl.models.tokens import VisualTokens, special_token_ids, text_mask
from echorl_vl.trl.accuracy import (
    AccuracyReward,
    VerificationMonitor,
    completion_accuracies,
    find_accuracy,
    reward_names,
)
from echorl_vl.trl.checks import check_hooks
from echorl_vl.trl.sampling import forbid_tokens


class EchoGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` with EchoRL. Has all arguments of `GRPOTrainer` and two keyword arguments.

    Args:
        echo: options of EchoRL. None: the defaults, which follow the paper.
        accuracy_reward: the reward function that verifies completions, its name or its index. A completion is verified
            if its value is at least `echo.verify_threshold`. A list: for each completion the value that is not None, or
            the lowest of several. None: the only function, or the only one whose name contains "accuracy".

    Raises:
        UserError: the installed TRL lacks a method or attribute that the adapter uses, `accuracy_reward` is invalid or
            ambiguous, or TRL does not support an option of `echo`.
    """

    def __init__(
        self,
        *args: Any,
        echo: EchoConfig | None = None,
        accuracy_reward: AccuracyReward | None = None,
        **kwargs: Any,
    ) -> None:
        check_hooks()
        self._check_accuracy(accuracy_reward, args, kwargs)
        super().__init__(*args, **kwargs)
        check_hooks(self)
        self.echo = EchoConfig() if echo is None else echo
        self._accuracy_columns = find_accuracy(self.reward_func_names, accuracy_reward, self.reward_funcs)
        accuracy_names = ", ".join(self.reward_func_names[column] for column in self._accuracy_columns)
        if self.accelerator.is_main_process:
            print(f"EchoRL: a completion is verified if {accuracy_names} >= {self.echo.verify_threshold:g}")
        self._monitor = VerificationMonitor(accuracy_names, self.echo.verify_threshold)
        self._pad_prompts_on_the_left()
        # With other ways of sampling, the forward hook sees other logits, none, or calls without a token (sharding).
        self._entropies_from_sampling = not (
            self.use_vllm or self.use_transformers_continuous_batching or self.tools or self.rollout_func
            or self.args.generation_kwargs or self.is_fsdp_enabled or self.is_deepspeed_enabled
        )  # fmt: skip
        self._check_options()
        if self.echo.coef > 0:
            self._splitter = make_splitter(self.echo.splitter, self._tokenizer, **self.echo.splitter_kwargs)
            self._visual = VisualTokens.find(self.model.config, self._tokenizer)
            self._special_ids = torch.cat([special_token_ids(self._tokenizer), torch.tensor(self.eos_token_ids)])
            forbid_tokens(self, self._visual.ids)
        self._has_warned_of_visual_tokens = False
        self._mining = False  # the current generation batch will be mined
        self._sampled_entropies: Tensor | None = None  # (B, sampled tokens)
        self._scored_entropies: Tensor | None = None  # (B, T)
        self._rewards_per_func: Tensor | None = None  # (rows of all ranks, reward functions)
        self._log_probs: Tensor | None = None  # (rows of the micro-batch, T), with their graph

    # Record results of TRL

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> tuple:
        if not (self._mining and self._entropies_from_sampling):
            return super()._generate_single_turn(*args, **kwargs)
        policy = self.accelerator.unwrap_model(self.model)
        policy = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
        entropies: list[Tensor] = []
        temperature = self.echo.entropy_temperature or self.temperature
        hook = policy.register_forward_hook(
            lambda _module, _args, output: entropies.append(token_entropy(output.logits[:, -1], temperature))
        )
        try:
            result = super()._generate_single_turn(*args, **kwargs)
        finally:
            hook.remove()
        completion_ids = result[0]
        complete = len(entropies) == max(map(len, completion_ids)) and len(entropies[0]) == len(completion_ids)
        self._sampled_entropies = torch.stack(entropies, dim=1) if complete else None
        return result

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> tuple:
        training = torch.is_grad_enabled()
        # TRL's first pass of the policy without gradient computes the old log-probs, if it needs them. With adapters, a
        # later pass of the same model computes the log-probs of the reference policy.
        recording = self._mining and not training and model is self.model and self._scored_entropies is None
        if recording and self._sampled_entropies is None:
            kwargs["compute_entropy"] = True
        log_probs, entropies, aux_loss = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if training:
            self._log_probs = log_probs
        elif recording:
            self._scored_entropies = entropies
        return log_probs, entropies, aux_loss

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        self._rewards_per_func = super()._calculate_rewards(*args, **kwargs)
        return self._rewards_per_func

    # Mining, once per generation batch

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        mode = "train" if self.model.training else "eval"
        self._mining = mode == "train" and self._batch_has_echo_term()
        self._sampled_entropies = self._scored_entropies = None
        try:
            batch = super()._generate_and_score_completions(inputs)
            self._log(mode, self._group_statistics(batch, mode))
            if self._mining:
                batch["echo_weights"], batch["echo_denominator"] = self._mine(batch)
        finally:
            self._mining = False
            self._sampled_entropies = self._scored_entropies = self._rewards_per_func = None
        return batch

    def _batch_has_echo_term(self) -> bool:
        """Whether the coefficient is above 0 in any optimizer step that may use the next generation batch."""
        micro_batches = self.args.steps_per_generation * self.num_iterations
        window = self.args.gradient_accumulation_steps
        steps = -(-micro_batches // window)
        if max(micro_batches, window) % min(micro_batches, window):  # the batch may start inside an optimizer step
            steps += 1
        return any(echo_coef(self.echo, self.state.global_step + ahead) > 0 for ahead in range(steps))

    def _mine(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the clips' token weights (B, T) and the number of prompts or clips () of the batch over all ranks.

        The rows of a group may be on several ranks, so each rank mines all rows and keeps the weights of its part.
        """
        tokens, generated = batch["completion_ids"], self._generated(batch)
        self._warn_of_visual_tokens(tokens, generated)
        text = text_mask(tokens, generated, self._visual, self._special_ids)
        steps = self._all_rows(step_ids(tokens, text, self._splitter), pad=-1)
        entropies = self._all_rows(self._entropies(batch), pad=0)
        accuracies, rewards = self._accuracies(), self._rewards()
        verified = verified_rollouts(accuracies, self.echo)
        if self.accelerator.is_main_process:
            step, interval = self.state.global_step, max(1, int(self.state.logging_steps))
            self._monitor.update(accuracies, verified, step, interval)
        clips = mine_echo_clips(
            entropies,
            steps,
            torch.arange(len(steps), device=steps.device) // self.num_generations,
            verified,
            self.echo,
            truncated=self._all_rows(self._truncated(batch)),
            generator=step_generator(
                self.echo.seed, self.state.global_step, f"{self.echo.stream} {self._micro_batch_in_step()}"
            ),
            rewards=rewards,
        )
        self._log("train", echo_metrics(clips, steps, entropies, self._all_rows(generated.sum(1))))

        first = self.accelerator.process_index * len(tokens)
        weights = clips.token_weights[first : first + len(tokens), : tokens.shape[1]]
        denominator = echo_denominator(self.echo, len(steps) // self.num_generations, len(clips))
        return weights, torch.tensor(float(denominator), device=tokens.device)

    def _entropies(self, batch: dict[str, Any]) -> Tensor:
        """Return the entropy (B, T) of the distribution that each token was sampled from.

        Uses the entropies of sampling or of TRL's pass for old log-probs, or else runs a forward pass.
        """
        length = batch["completion_ids"].shape[1]
        if self._sampled_entropies is not None:
            entropies = self._sampled_entropies
            return torch.nn.functional.pad(entropies, (0, length - entropies.shape[1]))
        if self._has_other_temperature():
            raise UserError(
                f"echo.entropy_temperature: expected none or {self.temperature}, the sampling temperature, got "
                f"{self.echo.entropy_temperature}; the logits of sampling were not available, and TRL's forward pass "
                "uses the sampling temperature"
            )
        if "old_per_token_logps" in batch:
            return self._scored_entropies
        self._scored_entropies = None
        parameters = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
        with torch.no_grad():
            self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                length,
                batch_size=self.args.per_device_train_batch_size,
                **{name: batch[name] for name in parameters if name in batch},  # images
            )
        return self._scored_entropies

    # Loss

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss = super()._compute_loss(model, inputs)
        log_probs, self._log_probs = self._log_probs, None
        if not self.model.training:
            return loss
        coef = echo_coef(self.echo, self.state.global_step)
        self._log("train", {ECHO_COEF: coef})
        if coef == 0:
            return loss
        # The denominator is the number of prompts (or clips) of an optimizer step: on average, because TRL shuffles a
        # generation batch before it splits it into steps. TRL averages gradients over ranks, hence num_processes.
        micro_batches = self.current_gradient_accumulation_steps
        denominator = inputs["echo_denominator"] * micro_batches / self.args.steps_per_generation
        echo = echo_loss(log_probs, inputs["echo_weights"], denominator / self.accelerator.num_processes)
        self._log("train", {ECHO_LOSS: self.accelerator.gather(echo.detach()).mean().item() * micro_batches})
        return loss + coef * echo

    # Helpers

    def _log(self, mode: str, metrics: dict[str, float]) -> None:
        """Record metrics; TRL logs their means since the last log."""
        for name, value in metrics.items():
            self._metrics[mode][name].append(value)

    def _all_rows(self, rows: Tensor, pad: int = 0) -> Tensor:
        """Gather the rows of all ranks in group order, padded to the longest."""
        return self.accelerator.gather(self.accelerator.pad_across_processes(rows, dim=1, pad_index=pad))

    def _generated(self, batch: dict[str, Any]) -> Tensor:
        """(B, T) bool: tokens that the policy generated."""
        return (batch["completion_mask"] * batch.get("tool_mask", 1)).bool()

    def _truncated(self, batch: dict[str, Any]) -> Tensor:
        """(B,) bool: the last token is neither an end token nor padding, as in TRL."""
        last = batch["completion_mask"].sum(1, keepdim=True).clamp(min=1) - 1
        ends = torch.tensor([*self.eos_token_ids, self._tokenizer.pad_token_id], device=last.device)
        return ~torch.isin(batch["completion_ids"].gather(1, last).squeeze(1), ends)

    def _accuracies(self) -> Tensor:
        """(rows of all ranks,) accuracies; NaN, which is not verified, if all accuracy functions returned None."""
        return completion_accuracies(self._rewards_per_func, self._accuracy_columns)

    def _rewards(self) -> Tensor:
        """(rows of all ranks,) weighted sum of the reward functions."""
        return (self._rewards_per_func * self.reward_weights.to(self._rewards_per_func.device)).nansum(1)

    def _group_statistics(self, batch: dict[str, Any], mode: str) -> dict[str, float]:
        """Compute the group statistics of the rows that have an accuracy."""
        size = self.num_generations if mode == "train" else self.num_generations_eval
        lengths = self._all_rows(self._generated(batch).sum(1))
        counted = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
        group_ids = torch.arange(len(lengths), device=lengths.device) // size
        per_row = (self._rewards(), self._accuracies(), group_ids, self._all_rows(batch["advantages"]), counted)
        graded = ~self._accuracies().isnan()
        if not graded.any():
            return {}
        rewards, accuracies, group_ids, advantages, counted = (values[graded] for values in per_row)
        return group_statistics(rewards, accuracies, group_ids, self.echo.verify_threshold, advantages, counted)

    def _micro_batch_in_step(self) -> int:
        return self._step % self.args.gradient_accumulation_steps

    def _has_other_temperature(self) -> bool:
        return self.echo.entropy_temperature not in (None, self.temperature)

    def _check_accuracy(self, accuracy_reward: AccuracyReward | None, args: tuple, kwargs: dict[str, Any]) -> None:
        """Raise UserError for an invalid `accuracy_reward`, before a model is loaded."""
        given = inspect.signature(GRPOTrainer.__init__).bind_partial(self, *args, **kwargs).arguments
        functions = given.get("reward_funcs") or []
        functions = functions if isinstance(functions, list) else [functions]
        if given.get("environment_factory") is None and functions:  # an environment may add reward functions
            find_accuracy(reward_names(functions), accuracy_reward, functions)

    def _pad_prompts_on_the_left(self) -> None:
        """Set the padding side that TRL assumes when it aligns a processor's token types with prompts."""
        if self.processing_class is not self._tokenizer and self._tokenizer.padding_side != "left":
            warnings.warn(
                f"expected a processor with padding_side left, got {self._tokenizer.padding_side}, which gives "
                "incorrect log-probs for prompts of different lengths; padding_side is set to left",
                stacklevel=3,
            )
            self._tokenizer.padding_side = "left"

    def _warn_of_visual_tokens(self, tokens: Tensor, generated: Tensor) -> None:
        """Warn once if a rollout function sampled visual tokens, given tokens (B, T) and their mask (B, T)."""
        count = (self._visual.mask(tokens) & generated).sum().item()
        if count and not self._has_warned_of_visual_tokens:
            self._has_warned_of_visual_tokens = True
            warnings.warn(
                f"the rollout function sampled {count} visual tokens, which makes the update of a vision-language "
                f"model fail; expected it to forbid the ids {list(self._visual.ids)}",
                stacklevel=2,
            )

    def _check_options(self) -> None:
        if self.echo.log_grad_share:
            raise UserError(
                "echo.log_grad_share: expected false, got true; TRL computes the gradients of both terms in one "
                "backward pass"
            )
        if self.echo.include_truncated and self.mask_truncated_completions:
            raise UserError(
                "expected echo.include_truncated or mask_truncated_completions to be false, got true for both; TRL "
                "masks the log-probs of truncated completions"
            )
        if self._has_other_temperature() and not self._entropies_from_sampling:
            raise UserError(
                f"echo.entropy_temperature: expected none or {self.temperature}, the sampling temperature, got "
                f"{self.echo.entropy_temperature}; with vLLM, tools, a rollout function, generation_kwargs or sharded "
                "weights the entropies come from TRL's forward pass, which uses the sampling temperature"
            )
