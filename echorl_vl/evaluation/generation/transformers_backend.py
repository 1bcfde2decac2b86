"""Responses by transformers' `generate`: Qwen2.5-VL of any size, and text-only causal language models.

Batches are left-padded. Tokens are sampled by inverse transform, with one uniform number per token from a separate
generator for each row. `generate` itself uses one generator per batch, so that a row would depend on those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from echorl_vl.engines.local.sampling import SamplingParams, sample
from echorl_vl.errors import UserError
from echorl_vl.evaluation.generation.base import Request, Response
from echorl_vl.evaluation.generation.prompting import context_of, encoder_for
from echorl_vl.evaluation.settings import Sampling
from echorl_vl.models.loading import load, to_dtype
from echorl_vl.types import Problem, Prompt

BATCH_SIZE = 16


class TransformersGenerator:
    """A model in transformers. By default it runs on a GPU in bfloat16, or on the CPU in float32.

    Raises:
        UserError: the model is missing, damaged or of an unsupported type.
    """

    def __init__(
        self,
        model: str,
        template: Path | None = None,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        loaded = load(SimpleNamespace(model_path=model), self.device, dtype_on(self.device.type, dtype))
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.encoder = encoder_for(
            self.model.config, loaded.processor, loaded.tokenizer, template, min_pixels, max_pixels
        )
        self.batch_size = 1 if has_length_dependent_rope(self.model.config) else batch_size or BATCH_SIZE
        self.context = context_of(self.model.config)
        self._ends = _end_tokens(self.model, self.tokenizer)
        # Generation settings in the checkpoint (a repetition penalty, top-k) are ignored: they are not recorded.
        self.model.generation_config = GenerationConfig(eos_token_id=self._ends, pad_token_id=self._ends[0])
        self._family = loaded.family

    def lengths(self, problems: Sequence[Problem]) -> list[int]:
        """Return the length of each prompt in tokens; reads only the headers of images."""
        return self.encoder.lengths(problems)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Response]:
        """Return one response per request."""
        # The n requests of a question are consecutive, so its images are encoded once.
        prompts: list[Prompt] = []
        for index, request in enumerate(requests):
            same = index > 0 and requests[index - 1].problem is request.problem
            prompts.append(prompts[-1] if same else self.encoder.encode(request.problem))
        inputs = self._batch(prompts)
        width = inputs["input_ids"].shape[1]
        uniform = torch.stack([_uniform(request.seed, sampling.max_tokens) for request in requests])
        sampler = SeededSampling(uniform.to(self.device), width, sampling)
        try:
            with torch.inference_mode():
                output = self.model.generate(
                    **inputs,
                    max_new_tokens=sampling.max_tokens,
                    do_sample=False,
                    logits_processor=LogitsProcessorList([sampler]),
                )
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"out of memory with a batch of {len(requests)} responses: lower --batch-size (now {self.batch_size}) "
                "or --max-pixels"
            ) from error
        return [self._response(row) for row in output[:, width:].tolist()]

    def _response(self, tokens: list[int]) -> Response:
        """Cut a response before its first end token; without one it is truncated."""
        end = next((index for index, token in enumerate(tokens) if token in self._ends), None)
        kept = tokens if end is None else tokens[:end]
        return Response(self.tokenizer.decode(kept, skip_special_tokens=True), len(kept), end is None)

    def _batch(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        """Return (B, L) ids and mask, padded on the left, and the images of all rows in order."""
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self._ends[0], dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = prompt.input_ids
            mask[row, width - len(prompt) :] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        batch |= self._family.forward_inputs(self.model, ids, prompts)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}


class SeededSampling(LogitsProcessor):
    """Samples one token per row from the row's uniform number for this step, and masks all others for `generate`.

    Args:
        uniform: (B, max_tokens) float64 in [0, 1).
        width: length of the padded prompts in tokens.
        sampling: temperature, top-p and top-k.
    """

    def __init__(self, uniform: Tensor, width: int, sampling: Sampling) -> None:
        self.uniform, self.width = uniform, width
        self.params = SamplingParams(temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.params.temperature == 0:
            return scores
        token = sample(scores, self.uniform[:, input_ids.shape[1] - self.width], self.params)
        return torch.full_like(scores, float("-inf")).scatter_(1, token[:, None], 0.0)


def dtype_on(device: str, dtype: str | None) -> torch.dtype:
    """Return the named dtype, by default bfloat16 on a GPU and float32 on the CPU. Raises UserError for other names."""
    return to_dtype(dtype) or (torch.bfloat16 if device.startswith("cuda") else torch.float32)


def has_length_dependent_rope(config: Any) -> bool:
    """Whether the rotary factors depend on the longest row of a batch; a response then depends on the others."""
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    by_layer_type = [rope, *(each for each in rope.values() if isinstance(each, dict))]
    return any(each.get("rope_type") in ("dynamic", "longrope") for each in by_layer_type)


def _uniform(seed: int, count: int) -> Tensor:
    """Return (count,) float64 uniform numbers, the same on every device."""
    return torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return all tokens that end a response, the padding token first (`_batch` pads with it)."""
    named = [tokenizer.pad_token_id, tokenizer.eos_token_id]
    for config in (model.generation_config, model.config):
        ends = getattr(config, "eos_token_id", None)
        named += ends if isinstance(ends, list) else [ends]
    ends = list(dict.fromkeys(token for token in named if token is not None))
    if not ends:
        raise UserError("the model has no token that ends a response: eos_token_id is not in its files")
    return ends
