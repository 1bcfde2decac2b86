"""Measurements of a policy without training: rollouts, grades and entropies on given problems."""

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

ROWS = 1024  # rollouts sampled in one batch


@dataclass(frozen=True)
class Sample:
    """B graded rollouts in group order; verified: (B,) bool, accuracy >= `echo.verify_threshold`."""

    rollouts: RolloutBatch
    verified: Tensor

    def correct_counts(self) -> Tensor:
        """Return (P,) int64, the number of verified rollouts of each prompt."""
        groups = self.rollouts.group_ids.cpu()
        return torch.zeros(len(self.rollouts.prompts), dtype=torch.long).index_add_(0, groups, self.verified.long())


@dataclass(frozen=True)
class Probe:
    """Samples, grades and scores with one policy, with the prompts, temperature and reward of its training."""

    setup: Setup
    config: Config
    policy: Policy
    encoder: PromptEncoder
    rewards: RewardManager
    splitter: Splitter

    def problems(
        self, spec: str, limit: int | None = None, seed: int | None = None, demonstrations: bool = False
    ) -> list[Problem]:
        """Return the problems of a set whose prompts are not too long.

        Args:
            spec: the set, as in `data.train_files`.
            limit: maximum number of problems; `Setup.problems` may lower it.
            seed: seed of a random choice; None takes the first problems.
            demonstrations: only problems with a usable demonstration.
        """
        found = load_set(self.config, spec, self.setup.demonstration_key if demonstrations else None)
        found = screen(found, self.encoder, check_images="off")
        kept = list(range(len(found)))
        if demonstrations:
            usable = set(usable_demonstrations(found, self.demonstration_encoder(found[kept[0]])).kept)
            kept = [index for index in kept if index in usable]
        if seed is not None:
            random.Random(seed).shuffle(kept)
        limits = [value for value in (limit, self.setup.problems) if value is not None]
        return [found[index] for index in kept[: min(limits, default=None)]]

    def demonstration_encoder(self, problem: Problem) -> DemonstrationEncoder:
        """Return the encoder of demonstrations; it learns from `problem` how the chat template begins a response."""
        return demonstration_encoder(self.config, self.encoder, problem, self.policy.end_of_turn)

    def prompts(self, problems: Sequence[Problem]) -> list[Prompt]:
        return [self.encoder.encode(problem) for problem in problems]

    def sample(self, prompts: Sequence[Prompt], n: int, seed: int, purpose: str) -> Sample:
        """Sample n rollouts of each prompt as in training and grade them; `seed` and `purpose` seed the sampling."""
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
        """Return (B, T), the reasoning step of each text token, -1 elsewhere."""
        return step_ids(rollouts.tokens, rollouts.text_mask, self.splitter)

    @torch.no_grad()
    def demonstrations(self, problems: Sequence[Problem]) -> RolloutBatch:
        """Return the demonstrations as rollouts, one per problem, with the policy's entropies at their tokens."""
        prompts = self.prompts(problems)
        encoder = self.demonstration_encoder(problems[0])
        rollouts = off_policy_rows(self.policy, prompts, [encoder.encode(problem) for problem in problems])
        # The temperature of the entropies recorded with rollouts.
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
    """Yield a Probe of the model in a folder, by default the configuration's initial model; close it at the end."""
    own = {"engine": "local", "trainer.val_only": "true", "data.val_files": next(iter(setup.splits.values()))}
    if model is not None:  # checkpoints have LoRA merged into the weights
        own |= {"worker.actor.model.model_path": str(model), "worker.actor.model.lora.rank": "0"}
    config = setup.load(own)
    context = build_context(config, lambda _: None)
    try:
        yield Probe(setup, config, context.policy, context.encoder, context.rewards, context.splitter)
    finally:
        context.rewards.close()
