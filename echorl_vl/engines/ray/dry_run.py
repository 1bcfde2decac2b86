"""Replacements for CUDA and vLLM in a CPU dry run of any host: gloo, and the local engine's rollout."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor

from echorl_vl.core.seeds import step_generator

if TYPE_CHECKING:
    from echorl_vl.engines.local.sampling import SamplingParams
    from echorl_vl.types import Prompt


def use_gloo() -> None:
    """Make every later process group of this process use gloo, whatever backend the host asks for."""
    start = dist.init_process_group

    @functools.wraps(start)
    def over_gloo(*arguments: Any, **options: Any) -> None:
        start(*arguments, **options | {"backend": "gloo"})

    dist.init_process_group = over_gloo


class Sampler:
    """Samples on the CPU in float32 with the weights loaded last. Every call uses new random numbers."""

    def __init__(self, model_path: str, trust_remote_code: bool, seed: int) -> None:
        from echorl_vl.config import ModelConfig
        from echorl_vl.engines.local.policy import Policy

        self.policy = Policy.load(ModelConfig(model_path=model_path, trust_remote_code=trust_remote_code), "cpu")
        self.policy.model.requires_grad_(False)
        self.seed, self.calls = seed, 0

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights in use, by name; copy into them to update the policy."""
        return self.policy.network.state_dict()

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, seed: int | None = None
    ) -> list[tuple[list[int], list[float]]]:
        """Sample `params.n` responses to each prompt; returns (token ids, log-probs) of each, in order."""
        from echorl_vl.engines.local.rollout import generate

        self.calls += 1
        rollouts = generate(self.policy, prompts, params, step_generator(seed or self.seed, self.calls, "rehearsal"))
        lengths = rollouts.response_mask.sum(-1).tolist()
        rows = zip(rollouts.tokens.tolist(), rollouts.log_probs.tolist(), lengths, strict=True)
        return [(tokens[:length], log_probs[:length]) for tokens, log_probs, length in rows]


def request(number: int, token_ids: Tensor, images: Sequence[Any] = (), **patches: Tensor) -> Prompt:
    """Wrap a host's request as a `Prompt` for the local engine's rollout."""
    from echorl_vl.types import Problem, Prompt

    return Prompt(Problem(f"request:{number}", "", "", images=tuple(images)), "", token_ids, **patches)
