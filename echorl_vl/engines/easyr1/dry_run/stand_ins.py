"""Replacements for the names of vLLM and flash-attn that EasyR1 uses: the local engine's rollout, and plain torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import torch
from einops import rearrange
from torch import Tensor

from echorl_vl.engines.ray.dry_run import Sampler, request


@dataclass
class SamplingParams:
    """Sampling parameters: the fields of vLLM's that EasyR1 sets, with vLLM's defaults."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    seed: int | None = None
    max_tokens: int = 16
    ignore_eos: bool = False
    detokenize: bool = True
    logit_bias: dict[int, float] | None = None


@dataclass
class RequestOutput:
    """The n responses to one prompt, each with `token_ids`."""

    outputs: list[Any] = field(default_factory=list)


class LLM:
    """Samples with the weights that EasyR1 loaded last. Every call uses new random numbers, by seed and count."""

    def __init__(self, model: str, seed: int = 0, trust_remote_code: bool = False, **_: Any) -> None:
        self.sampler = Sampler(model, trust_remote_code, seed)
        runner = SimpleNamespace(model=SimpleNamespace(load_weights=self._load_weights), encoder_cache={})
        worker = SimpleNamespace(worker=SimpleNamespace(model_runner=runner))
        self.llm_engine = SimpleNamespace(
            model_executor=SimpleNamespace(driver_worker=worker),
            add_lora=self._add_lora,
            list_loras=lambda: set(self.adapters),
        )
        self.adapters: list[int] = []
        self.base = {name: tensor.clone() for name, tensor in self.sampler.weights.items()}

    def sleep(self, level: int = 1) -> None:
        """Does nothing: there is no GPU memory to free."""

    def wake_up(self, tags: list[str] | None = None) -> None:
        """Does nothing."""

    def generate(self, prompts: list[dict], sampling_params: SamplingParams, **_: Any) -> list[RequestOutput]:
        """Sample responses to prompts of `prompt_token_ids` (one image token per image) and `multi_modal_data`."""
        from echorl_vl.engines.local.sampling import SamplingParams as LocalParams

        params = LocalParams(
            n=sampling_params.n,
            temperature=sampling_params.temperature,
            top_p=sampling_params.top_p,
            top_k=sampling_params.top_k,
            max_tokens=sampling_params.max_tokens,
            ignore_eos=sampling_params.ignore_eos,
        )
        encoded = [self._encode(number, prompt) for number, prompt in enumerate(prompts)]
        responses = self.sampler.sample(encoded, params, sampling_params.seed)
        groups = [responses[first : first + params.n] for first in range(0, len(responses), params.n)]
        return [RequestOutput([SimpleNamespace(token_ids=tokens) for tokens, _ in group]) for group in groups]

    def _encode(self, number: int, prompt: dict) -> Any:
        ids = torch.tensor(prompt["prompt_token_ids"])
        images = (prompt.get("multi_modal_data") or {}).get("image", [])
        if not images:
            return request(number, ids)
        policy = self.sampler.policy
        features = policy.processor.image_processor(images=images, return_tensors="pt")
        patches = {name: features[name] for name in ("pixel_values", "image_grid_thw") if name in features}
        encoded = policy.family.split_images(request(number, ids, images, **patches))
        counts = torch.ones_like(ids)  # EasyR1 passes one token per image
        # Counted from the features: the processor chose the size, which for tiny images differs from the family's.
        tokens = [len(rows) for rows in policy.family.image_features(policy.network, encoded)]
        counts[ids == policy.visual.image_pad] = torch.tensor(tokens)
        return request(number, ids.repeat_interleave(counts), images, **patches)

    def _load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load weights under the names of published checkpoints, as EasyR1 passes them to vLLM."""
        own = self.sampler.weights
        mapping = getattr(self.sampler.policy.network, "_checkpoint_conversion_mapping", {})
        for name, tensor in weights:
            own[_own_name(name, mapping, own)].copy_(tensor)

    def _add_lora(self, request: Any) -> None:
        """Merge an adapter into the loaded weights: W + alpha / rank * B A."""
        self.adapters = [request.lora_int_id]
        scale = request.peft_config["lora_alpha"] / request.peft_config["r"]
        own = self.sampler.weights
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
    """An adapter. EasyR1's subclass adds its configuration and weights."""

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

# `flash_attn.bert_padding` for EasyR1's padding-free batches. M = batch * sequence; N tokens are kept.


def index_first_axis(values: Tensor, indices: Tensor) -> Tensor:
    """Rows `indices` (N,) of `values` (M, ...), which is (N, ...)."""
    return values[indices]


def unpad_input(hidden_states: Tensor, attention_mask: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, int, Tensor]:
    """From (batch, sequence, ...) to (N, ...) kept tokens, their indices, cumulative lengths, maximum, lengths."""
    lengths = attention_mask.sum(-1, dtype=torch.int32)
    indices = attention_mask.flatten().nonzero().flatten()
    cumulative = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    return hidden_states.flatten(0, 1)[indices], indices, cumulative, int(lengths.max()), lengths


def pad_input(hidden_states: Tensor, indices: Tensor, batch: int, seqlen: int) -> Tensor:
    """From (N, ...) to (batch, sequence, ...), with zeros elsewhere."""
    padded = hidden_states.new_zeros(batch * seqlen, *hidden_states.shape[1:])
    return padded.index_copy(0, indices, hidden_states).unflatten(0, (batch, seqlen))


MODULES: dict[str, dict[str, Any]] = {
    "flash_attn": {},
    "flash_attn.bert_padding": {
        "index_first_axis": index_first_axis,
        "pad_input": pad_input,
        "rearrange": rearrange,
        "unpad_input": unpad_input,
    },
    "vllm": {"LLM": LLM, "RequestOutput": RequestOutput, "SamplingParams": SamplingParams},
    "vllm.distributed": {"parallel_state": SimpleNamespace(**_PARALLEL)},
    "vllm.lora": {},
    "vllm.lora.models": {"LoRAModel": object},
    "vllm.lora.request": {"LoRARequest": LoRARequest},
    "vllm.lora.utils": {"get_adapter_absolute_path": str},
    "vllm.lora.worker_manager": {"LRUCacheWorkerLoRAManager": type("LRUCacheWorkerLoRAManager", (), {})},
}
