"""verl's rollout server with the local engine's rollout: float32, one process per worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray
import torch
from torch import Tensor
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

from echorl_vl.engines.local.sampling import SamplingParams
from echorl_vl.engines.ray.dry_run import Sampler, request

NAME = "echorl_dry_run_server_{}"  # name of a replica's Ray actor
PAUSE = 0.05  # seconds during which requests are collected, since a batch is much faster


@dataclass
class _Request:
    prompt_ids: list[int]
    params: SamplingParams
    answer: asyncio.Future


class Server:
    """Samples with the weights loaded last. Every batch uses new random numbers, by seed and count."""

    def __init__(self, path: str, trust_remote_code: bool, max_tokens: int, ignore_eos: bool, seed: int) -> None:
        torch.set_num_threads(1)
        self.sampler = Sampler(path, trust_remote_code, seed)
        self.max_tokens, self.ignore_eos = max_tokens, ignore_eos
        self.step = 0
        self.waiting: list[_Request] = []

    async def load_weights(self, weights: dict[str, Tensor], step: int | None) -> None:
        """Load weights by their names in the model. `step`, the trainer's, is part of each output."""
        own = self.sampler.weights
        for name, tensor in weights.items():
            own[name].copy_(tensor)
        self.step = step or 0

    async def generate(
        self, request_id: str, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> TokenOutput:
        """Sample one response."""
        params = SamplingParams(
            temperature=sampling_params["temperature"],
            top_p=sampling_params["top_p"],
            top_k=sampling_params["top_k"],
            max_tokens=self.max_tokens,
            ignore_eos=self.ignore_eos,
        )
        waiting = _Request(list(prompt_ids), params, asyncio.get_running_loop().create_future())
        self.waiting.append(waiting)
        if len(self.waiting) == 1:
            asyncio.get_running_loop().call_later(PAUSE, self._answer_waiting)
        return await waiting.answer

    def _answer_waiting(self) -> None:
        requests, self.waiting = self.waiting, []
        for params in dict.fromkeys(one.params for one in requests):
            self._answer([one for one in requests if one.params == params], params)

    def _answer(self, requests: list[_Request], params: SamplingParams) -> None:
        prompts = [request(number, torch.tensor(one.prompt_ids)) for number, one in enumerate(requests)]
        try:
            responses = self.sampler.sample(prompts, params)
        except Exception as error:
            for one in requests:
                one.answer.set_exception(error)
            return
        for one, (tokens, log_probs) in zip(requests, responses, strict=True):
            output = TokenOutput(
                token_ids=tokens,
                log_probs=log_probs,
                stop_reason="completed",
                extra_fields={"global_steps": self.step},
            )
            one.answer.set_result(output)

    async def wake_up(self, *_: Any, **__: Any) -> None:
        """Does nothing."""

    async def sleep(self, *_: Any, **__: Any) -> None:
        """Does nothing: there is no GPU memory to free."""

    async def abort_all_requests(self, *_: Any, **__: Any) -> None:
        """Does nothing."""

    async def resume_generation(self) -> None:
        """Does nothing."""


class Replica(RolloutReplica):
    """Starts one server per worker."""

    async def launch_servers(self) -> None:
        config, model = self.config, self.model_config
        arguments = (model.path, model.trust_remote_code, config.response_length, config.ignore_eos, config.seed)
        options = {"name": NAME.format(self.replica_rank), "num_cpus": 1, "max_concurrency": self.max_concurrency}
        self.servers = [ray.remote(Server).options(**options).remote(*arguments)]
        self._server_handle, self._server_address = self.servers[0], options["name"]


class Adapter(BaseRollout):
    """The trainer's side of a server, which sends it the weights after each step."""

    async def resume(self, tags: list[str]) -> None:
        pass

    async def release(self) -> None:
        pass

    async def update_weights(
        self, weights: Iterable[tuple[str, Tensor]], global_steps: int | None = None, **_: Any
    ) -> None:
        """Gather the weights, with all ranks, and load them into this rank's server."""
        whole = {name: tensor.detach().float().cpu() for name, tensor in weights}
        server = ray.get_actor(NAME.format(torch.distributed.get_rank()))
        await server.load_weights.remote(whole, global_steps)
