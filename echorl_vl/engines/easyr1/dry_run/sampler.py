"""What EasyR1 uses of vLLM, with the local engine's rollout behind it: float32, one process, image-aware."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import torch
from torch import Tensor

from echorl_vl.config import ModelConfig
from echorl_vl.core.seeds import step_generator
from echorl_vl.engines.easyr1.dry_run.params import SamplingParams
from echorl_vl.engines.local.policy import Policy
from echorl_vl.engines.local.rollout import generate
from echorl_vl.engines.local.sampling import SamplingParams as DrawParams
from echorl_vl.types import Problem, Prompt


@dataclass
class RequestOutput:
    """The n responses to one prompt, each with `token_ids`."""

    outputs: list[Any] = field(default_factory=list)


class LLM:
    """Samples with the weights that EasyR1 handed over last. Every call draws new numbers, by seed and count."""

    def __init__(self, model: str, seed: int = 0, trust_remote_code: bool = False, **_: Any) -> None:
        self.policy = Policy.load(ModelConfig(model_path=model, trust_remote_code=trust_remote_code), "cpu")
        self.policy.model.requires_grad_(False)
        self.seed, self.calls = seed, 0
        runner = SimpleNamespace(model=SimpleNamespace(load_weights=self._load_weights), encoder_cache={})
        worker = SimpleNamespace(worker=SimpleNamespace(model_runner=runner))
        self.llm_engine = SimpleNamespace(
            model_executor=SimpleNamespace(driver_worker=worker),
            add_lora=self._add_lora,
            list_loras=lambda: set(self.adapters),
        )
        self.adapters: list[int] = []
        self.base = {name: tensor.clone() for name, tensor in self.policy.network.state_dict().items()}

    def sleep(self, level: int = 1) -> None:
        """There is no GPU memory to give back."""

    def wake_up(self, tags: list[str] | None = None) -> None:
        """There is no GPU memory to take again."""

    def generate(self, prompts: list[dict], sampling_params: SamplingParams, **_: Any) -> list[RequestOutput]:
        """Responses to prompts of `prompt_token_ids` (one image token a picture) and `multi_modal_data`."""
        params = DrawParams(
            n=sampling_params.n,
            temperature=sampling_params.temperature,
            top_p=sampling_params.top_p,
            top_k=sampling_params.top_k,
            max_tokens=sampling_params.max_tokens,
            ignore_eos=sampling_params.ignore_eos,
        )
        self.calls += 1
        generator = step_generator(sampling_params.seed or self.seed, self.calls, "rehearsal")
        encoded = [self._encode(index, prompt) for index, prompt in enumerate(prompts)]
        rollouts = generate(self.policy, encoded, params, generator)
        lengths = rollouts.response_mask.sum(-1).tolist()
        responses = [row[:length] for row, length in zip(rollouts.tokens.tolist(), lengths, strict=True)]
        groups = [responses[first : first + params.n] for first in range(0, len(responses), params.n)]
        return [RequestOutput([SimpleNamespace(token_ids=tokens) for tokens in group]) for group in groups]

    def _encode(self, index: int, prompt: dict) -> Prompt:
        ids = torch.tensor(prompt["prompt_token_ids"])
        images = (prompt.get("multi_modal_data") or {}).get("image", [])
        problem = Problem(uid=f"request:{index}", question="", answer="", images=tuple(images))
        if not images:
            return Prompt(problem, "", ids)
        features = self.policy.processor.image_processor(images=images, return_tensors="pt")
        merged = features["image_grid_thw"].prod(-1) // self.policy.processor.image_processor.merge_size**2
        counts = torch.ones_like(ids)
        counts[ids == self.policy.visual.image_pad] = merged
        ids = ids.repeat_interleave(counts)
        return Prompt(problem, "", ids, features["pixel_values"], features["image_grid_thw"])

    def _load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Weights under the names of the published checkpoints, as EasyR1 gives them to vLLM."""
        network = self.policy.network
        own = network.state_dict()
        mapping = getattr(network, "_checkpoint_conversion_mapping", {})
        for name, tensor in weights:
            own[_own_name(name, mapping, own)].copy_(tensor)

    def _add_lora(self, request: Any) -> None:
        """Merges an adapter into the weights as loaded: W + alpha / rank * B A."""
        self.adapters = [request.lora_int_id]
        scale = request.peft_config["lora_alpha"] / request.peft_config["r"]
        own = self.policy.network.state_dict()
        for name, down in request.lora_tensors.items():
            if "lora_A" not in name:
                continue
            up = request.lora_tensors[name.replace("lora_A", "lora_B")]
            weight = re.sub(r"_fsdp_wrapped_module\.|^base_model\.model\.|lora_A\.(default\.)?", "", name)
            own[weight].copy_(self.base[weight] + scale * up.float() @ down.float())


def _own_name(name: str, mapping: dict[str, str], own: dict[str, Tensor]) -> str:
    if name in own:
        return name
    for pattern, replacement in mapping.items():
        changed, count = re.subn(pattern, replacement, name)
        if count:
            return changed
    return name


class LoRARequest(msgspec.Struct):
    """An adapter; EasyR1 adds its configuration and weights in a subclass."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""


def _tensor_parallel_group() -> Any:
    return SimpleNamespace(device_group=None)


_PARALLEL = {
    "get_tensor_model_parallel_group": _tensor_parallel_group,
    "get_tensor_model_parallel_rank": lambda: 0,
    "get_tensor_model_parallel_world_size": lambda: 1,
}

MODULES: dict[str, dict[str, Any]] = {
    "vllm": {"LLM": LLM, "RequestOutput": RequestOutput, "SamplingParams": SamplingParams},
    "vllm.distributed": {"parallel_state": SimpleNamespace(**_PARALLEL)},
    "vllm.lora": {},
    "vllm.lora.models": {"LoRAModel": object},
    "vllm.lora.request": {"LoRARequest": LoRARequest},
    "vllm.lora.utils": {"get_adapter_absolute_path": str},
    "vllm.lora.worker_manager": {"LRUCacheWorkerLoRAManager": type("LRUCacheWorkerLoRAManager", (), {})},
}
