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
from echorl_vl.trl.accuracy import AccuracyReward, SilenceWatch, accuracy_of_each, find_accuracy, names_of
from echorl_vl.trl.checks import check_hooks
from echorl_vl.trl.sampling import forbid


class EchoGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` with EchoRL. Takes all of its arguments, and two of its own, by name.

    Args:
        echo: switches of EchoRL; None: the paper's.
        accuracy_reward: name, index or the reward function itself whose value says that a completion is verified, at
            or above `echo.verify_threshold`. A list: of each completion the value that is not None (the lowest of
            several). None: the only function, or the only one whose name contains "accuracy".

    Raises:
        UserError: the TRL of this environment lacks what is hooked (class and attribute are named), no single reward
            function is the accuracy, or a switch doesn't work here.
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
        chosen = ", ".join(self.reward_func_names[column] for column in self._accuracy_columns)
        if self.accelerator.is_main_process:
            print(f"EchoRL: a completion is verified where {chosen} gives {self.echo.verify_threshold:g} or more")
        self._silence = SilenceWatch(chosen, self.echo.verify_threshold)
        self._pad_prompts_on_the_left()
        # Other ways of sampling show other logits, or none, or (sharded models) make calls that belong to no token.
        self._entropies_from_sampling = not (
            self.use_vllm or self.use_transformers_continuous_batching or self.tools or self.rollout_func
            or self.args.generation_kwargs or self.is_fsdp_enabled or self.is_deepspeed_enabled
        )  # fmt: skip
        self._check_switches()
        if self.echo.coef > 0:
            self._splitter = make_splitter(self.echo.splitter, self._tokenizer, **self.echo.splitter_kwargs)
            self._visual = VisualTokens.find(self.model.config, self._tokenizer)
            self._special_ids = torch.cat([special_token_ids(self._tokenizer), torch.tensor(self.eos_token_ids)])
            forbid(self, self._visual.ids)
        self._warned_of_visual_tokens = False
        self._mining = False  # the batch in the making is going to be mined
        self._sampled_entropies: Tensor | None = None  # (B, tokens sampled)
        self._scored_entropies: Tensor | None = None  # (B, T)
        self._rewards_per_func: Tensor | None = None  # (rows of all ranks, reward functions)
        self._log_probs: Tensor | None = None  # (rows of the micro-batch, T), with their graph

    # --- what TRL computes anyway, noted as it passes ---

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> tuple:
        if not (self._mining and self._entropies_from_sampling):
            return super()._generate_single_turn(*args, **kwargs)
        policy = self.accelerator.unwrap_model(self.model)
        policy = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
        noted: list[Tensor] = []
        temperature = self.echo.entropy_temperature or self.temperature
        hook = policy.register_forward_hook(
            lambda _module, _args, output: noted.append(token_entropy(output.logits[:, -1], temperature))
        )
        try:
            result = super()._generate_single_turn(*args, **kwargs)
        finally:
            hook.remove()
        completion_ids = result[0]
        fits = len(noted) == max(map(len, completion_ids)) and len(noted[0]) == len(completion_ids)
        self._sampled_entropies = torch.stack(noted, dim=1) if fits else None
        return result

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> tuple:
        training = torch.is_grad_enabled()
        # Of the passes without gradient, TRL's first one of the policy is that of the old log-probs, if there is one;
        # with adapters, a later one of the same model is the reference's.
        noting = self._mining and not training and model is self.model and self._scored_entropies is None
        if noting and self._sampled_entropies is None:
            kwargs["compute_entropy"] = True
        log_probs, entropies, aux_loss = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if training:
            self._log_probs = log_probs
        elif noting:
            self._scored_entropies = entropies
        return log_probs, entropies, aux_loss

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        self._rewards_per_func = super()._calculate_rewards(*args, **kwargs)
        return self._rewards_per_func

    # --- mining, once a generation batch ---

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        mode = "train" if self.model.training else "eval"
        self._mining = mode == "train" and self._batch_is_echoed()
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

    def _batch_is_echoed(self) -> bool:
        """Whether the coefficient is above 0 in any optimizer step that the next generation batch can be part of."""
        micro_batches = self.args.steps_per_generation * self.num_iterations
        window = self.args.gradient_accumulation_steps
        steps = -(-micro_batches // window)
        if max(micro_batches, window) % min(micro_batches, window):  # it may begin in the middle of a step
            steps += 1
        return any(echo_coef(self.echo, self.state.global_step + ahead) > 0 for ahead in range(steps))

    def _mine(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """(B, T) token weights of the clips, and the prompts or clips of the generation batch over all ranks, ().

        A group's rows may lie on several ranks, so every rank mines all rows and keeps its own.
        """
        tokens, written = batch["completion_ids"], self._written(batch)
        self._warn_of_visual_tokens(tokens, written)
        text = text_mask(tokens, written, self._visual, self._special_ids)
        steps = self._all_rows(step_ids(tokens, text, self._splitter), pad=-1)
        entropies = self._all_rows(self._entropies(batch), pad=0)
        accuracies, rewards = self._accuracies(), self._rewards()
        verified = verified_rollouts(accuracies, self.echo)
        if self.accelerator.is_main_process:
            step, interval = self.state.global_step, max(1, int(self.state.logging_steps))
            self._silence.see(accuracies, verified, step, interval)
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
        self._log("train", echo_metrics(clips, steps, entropies, self._all_rows(written.sum(1))))

        first = self.accelerator.process_index * len(tokens)
        own = clips.token_weights[first : first + len(tokens), : tokens.shape[1]]
        denominator = echo_denominator(self.echo, len(steps) // self.num_generations, len(clips))
        return own, torch.tensor(float(denominator), device=tokens.device)

    def _entropies(self, batch: dict[str, Any]) -> Tensor:
        """(B, T) entropy of the distribution that each token was drawn from; a pass of its own is the last resort."""
        length = batch["completion_ids"].shape[1]
        if self._sampled_entropies is not None:
            noted = self._sampled_entropies
            return torch.nn.functional.pad(noted, (0, length - noted.shape[1]))
        if self._has_other_temperature():
            raise UserError(
                f"echo.entropy_temperature is {self.echo.entropy_temperature}, but the logits could not be seen in "
                f"sampling: wanted {self.temperature}, the sampling temperature, at which TRL's own pass takes them"
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
                **{name: batch[name] for name in parameters if name in batch},  # pictures
            )
        return self._scored_entropies

    # --- the loss ---

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss = super()._compute_loss(model, inputs)
        log_probs, self._log_probs = self._log_probs, None
        if not self.model.training:
            return loss
        coef = echo_coef(self.echo, self.state.global_step)
        self._log("train", {ECHO_COEF: coef})
        if coef == 0:
            return loss
        # Prompts (or clips) of an optimizer step: a batch that is spread over several steps is shuffled before, so
        # this is what a step has of them on average. Gradients are averaged over ranks: hence their number.
        micro_batches = self.current_gradient_accumulation_steps
        denominator = inputs["echo_denominator"] * micro_batches / self.args.steps_per_generation
        echo = echo_loss(log_probs, inputs["echo_weights"], denominator / self.accelerator.num_processes)
        self._log("train", {ECHO_LOSS: self.accelerator.gather(echo.detach()).mean().item() * micro_batches})
        return loss + coef * echo

    # --- small parts ---

    def _log(self, mode: str, metrics: dict[str, float]) -> None:
        """TRL logs the mean of what was noted since the last log."""
        for name, value in metrics.items():
            self._metrics[mode][name].append(value)

    def _all_rows(self, rows: Tensor, pad: int = 0) -> Tensor:
        """Rows of all ranks, in group order, padded to the longest."""
        return self.accelerator.gather(self.accelerator.pad_across_processes(rows, dim=1, pad_index=pad))

    def _written(self, batch: dict[str, Any]) -> Tensor:
        """(B, T) bool: tokens that the policy wrote."""
        return (batch["completion_mask"] * batch.get("tool_mask", 1)).bool()

    def _truncated(self, batch: dict[str, Any]) -> Tensor:
        """(B,) bool: neither an end-of-turn nor a padding token is last, as TRL has it."""
        last = batch["completion_mask"].sum(1, keepdim=True).clamp(min=1) - 1
        ends = torch.tensor([*self.eos_token_ids, self._tokenizer.pad_token_id], device=last.device)
        return ~torch.isin(batch["completion_ids"].gather(1, last).squeeze(1), ends)

    def _accuracies(self) -> Tensor:
        """(rows of all ranks,); NaN where every function of the accuracy returned None, which verifies nothing."""
        return accuracy_of_each(self._rewards_per_func, self._accuracy_columns)

    def _rewards(self) -> Tensor:
        """(rows of all ranks,) the weighted sum of the functions."""
        return (self._rewards_per_func * self.reward_weights.to(self._rewards_per_func.device)).nansum(1)

    def _group_statistics(self, batch: dict[str, Any], mode: str) -> dict[str, float]:
        """Shares of groups and tokens, over the rows that have an accuracy."""
        size = self.num_generations if mode == "train" else self.num_generations_eval
        lengths = self._all_rows(self._written(batch).sum(1))
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
        """Raises UserError for an `accuracy_reward` that can't be one, before a model is loaded."""
        given = inspect.signature(GRPOTrainer.__init__).bind_partial(self, *args, **kwargs).arguments
        functions = given.get("reward_funcs") or []
        functions = functions if isinstance(functions, list) else [functions]
        if given.get("environment_factory") is None and functions:  # an environment may bring functions of its own
            find_accuracy(names_of(functions), accuracy_reward, functions)

    def _pad_prompts_on_the_left(self) -> None:
        """TRL takes a processor's token types as they are padded, and puts them over prompts padded on the left."""
        if self.processing_class is not self._tokenizer and self._tokenizer.padding_side != "left":
            warnings.warn(
                f"the processor pads on the {self._tokenizer.padding_side}, which gives wrong log-probs for prompts of "
                "different lengths: its padding_side is set to left",
                stacklevel=3,
            )
            self._tokenizer.padding_side = "left"

    def _warn_of_visual_tokens(self, tokens: Tensor, written: Tensor) -> None:
        """Once: (B, T) tokens hold visual ones that the policy wrote, though they are forbidden in our own sampling."""
        found = (self._visual.mask(tokens) & written).sum().item()
        if found and not self._warned_of_visual_tokens:
            self._warned_of_visual_tokens = True
            warnings.warn(
                f"{found} visual tokens were sampled, which a model with pictures can't be trained on: whoever samples "
                f"(a rollout function) must forbid the ids {list(self._visual.ids)}",
                stacklevel=2,
            )

    def _check_switches(self) -> None:
        if self.echo.log_grad_share:
            raise UserError(
                "echo.log_grad_share is true: wanted false in TRL, where the gradients of both terms meet in one "
                "backward pass that ends in the optimizer step"
            )
        if self.echo.include_truncated and self.mask_truncated_completions:
            raise UserError(
                "echo.include_truncated is true, but TRL's mask_truncated_completions takes the log-probs of truncated "
                "completions away: wanted one of the two false"
            )
        if self._has_other_temperature() and not self._entropies_from_sampling:
            raise UserError(
                f"echo.entropy_temperature is {self.echo.entropy_temperature}: wanted none or {self.temperature}, the "
                "sampling temperature. With vLLM, tools, a rollout function, generation_kwargs or sharded weights the "
                "entropies come from TRL's own pass, which has one temperature"
            )
