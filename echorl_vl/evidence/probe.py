"""A policy that is looked at and not trained: problems in; rollouts, grades and entropies out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from echorl_vl.config import Config
from echorl_vl.core import Splitter, step_ids, verified_rollouts
from echorl_vl.core.seeds import step_generator
from echorl_vl.data.demonstrations import DemonstrationEncoder, usable_demonstrations
from echorl_vl.data.from_config import demonstration_encoder, load_set
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.screening import screen
from echorl_vl.engines.local.context import build_context
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate, grade
from echorl_vl.engines.local.sampling import training_params
from echorl_vl.engines.local.strategies.off_policy import off_policy_rows
from echorl_vl.evidence.setup import Setup
from echorl_vl.rewards.manager import RewardManager
from echorl_vl.types import Problem, Prompt, RolloutBatch, concatenate

ROWS = 1024  # rollouts that are sampled at once


@dataclass(frozen=True)
class Sample:
    """B rollouts with verified (B,) bool, accuracies at or above `echo.verify_threshold`; rows in group order."""

    rollouts: RolloutBatch
    verified: Tensor

    def correct_counts(self) -> Tensor:
        """(P,) int64: verified rollouts of each prompt."""
        groups = self.rollouts.group_ids.cpu()
        return torch.zeros(len(self.rollouts.prompts), dtype=torch.long).index_add_(0, groups, self.verified.long())


@dataclass(frozen=True)
class Probe:
    """Samples, grades and scores with one policy, as the configuration trains it: prompts, temperature, reward."""

    setup: Setup
    config: Config
    policy: Policy
    encoder: PromptEncoder
    rewards: RewardManager
    splitter: Splitter

    def problems(
        self, spec: str, limit: int | None = None, seed: int | None = None, traces: bool = False
    ) -> list[Problem]:
        """The problems of a set whose prompts are short enough.

        Args:
            spec: as `data.train_files` takes it. limit: at most so many; `Setup.problems` lowers it further. seed: of
            their choice; None takes the first ones. traces: only those with a worked solution that can be used.
        """
        found = load_set(self.config, spec, self.setup.demonstration_key if traces else None)
        found = screen(found, self.encoder, check_images="off")
        kept = list(range(len(found)))
        if traces:
            with_trace = set(usable_demonstrations(found, self.demonstration_encoder(found[kept[0]])).kept)
            kept = [index for index in kept if index in with_trace]
        if seed is not None:
            random.Random(seed).shuffle(kept)
        limits = [value for value in (limit, self.setup.problems) if value is not None]
        return [found[index] for index in kept[: min(limits, default=None)]]

    def demonstration_encoder(self, problem: Problem) -> DemonstrationEncoder:
        """Encodes worked solutions as training does; `problem` shows how the chat template opens an answer."""
        return demonstration_encoder(self.config, self.encoder, problem, self.policy.end_of_turn)

    def prompts(self, problems: Sequence[Problem]) -> list[Prompt]:
        return [self.encoder.encode(problem) for problem in problems]

    def sample(self, prompts: Sequence[Prompt], n: int, seed: int, purpose: str) -> Sample:
        """n graded rollouts of each prompt, sampled as in training; the same for the same seed and purpose."""
        params = replace(training_params(self.config), n=n)
        generator = step_generator(seed, 0, purpose)
        size = max(1, ROWS // n)
        parts = []
        for first in range(0, len(prompts), size):
            rollouts = generate(self.policy, prompts[first : first + size], params, generator)
            parts.append(grade(rollouts, self.rewards, self.policy, self.config))
        rollouts = parts[0] if len(parts) == 1 else concatenate(parts, self.policy.pad_id)
        return Sample(rollouts, verified_rollouts(rollouts.score("accuracy").cpu(), self.config.echo))

    def steps(self, rollouts: RolloutBatch) -> Tensor:
        """(B, T) reasoning step of each text token, -1 elsewhere."""
        return step_ids(rollouts.tokens, rollouts.text_mask, self.splitter)

    @torch.no_grad()
    def traces(self, problems: Sequence[Problem]) -> RolloutBatch:
        """The worked solutions as rollouts, one a problem, with the policy's entropies at their tokens."""
        prompts = self.prompts(problems)
        encoder = self.demonstration_encoder(problems[0])
        rollouts = off_policy_rows(self.policy, prompts, [encoder.encode(problem) for problem in problems])
        # That of the entropies that are recorded with rollouts.
        temperature = self.config.echo.entropy_temperature or self.config.worker.rollout.temperature or 1.0
        scored = [
            self.policy.score(rollouts, range(first, min(first + ROWS, len(problems))), temperature)
            for first in range(0, len(problems), ROWS)
        ]
        rollouts.log_probs = torch.cat([part.log_probs for part in scored])
        rollouts.entropy = torch.cat([part.entropy for part in scored])
        return rollouts


@contextmanager
def open_probe(setup: Setup, model: Path | None):
    """A Probe of the model in a folder, None for the one that the configuration starts from; frees it at the end."""
    own = {"engine": "local", "trainer.val_only": "true", "data.val_files": next(iter(setup.splits.values()))}
    if model is not None:  # a checkpoint holds the whole model: LoRA is merged in
        own |= {"worker.actor.model.model_path": str(model), "worker.actor.model.lora.rank": "0"}
    config = setup.load(own)
    context = build_context(config, lambda _: None)
    try:
        yield Probe(setup, config, context.policy, context.encoder, context.rewards, context.splitter)
    finally:
        context.rewards.close()
