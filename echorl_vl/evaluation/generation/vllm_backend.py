"""Responses by vLLM's offline `LLM`, for GPUs.

Each request has its own seed, but rounding in vLLM depends on how it schedules requests into batches: two runs at a
temperature above 0 may differ in a few responses; see docs/evaluation.md.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.evaluation.generation.base import Request, Response
from echorl_vl.evaluation.generation.prompting import context_of, encoder_for
from echorl_vl.evaluation.settings import Sampling
from echorl_vl.models import has_images
from echorl_vl.models.weights import check_weight_files
from echorl_vl.types import Problem

BATCH_SIZE = 256


def available() -> bool:
    """Whether vLLM is installed. Does not import it, which takes many seconds."""
    return importlib.util.find_spec("vllm") is not None


class VLLMGenerator:
    """A model in vLLM.

    Args:
        model: folder of the model.
        template: jinja file of the prompt template.
        min_pixels: minimum area of an image.
        max_pixels: maximum area of an image.
        dtype: vLLM's name of a dtype; None for the checkpoint's.
        batch_size: maximum number of requests per call.
        max_images: maximum number of images in a prompt.
        options: arguments of `vllm.LLM`, such as tensor_parallel_size.

    Raises:
        UserError: vLLM is not installed or can't load the model.
    """

    def __init__(
        self,
        model: str,
        template: Path | None = None,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        dtype: str | None = None,
        batch_size: int | None = None,
        max_images: int = 1,
        **options: Any,
    ) -> None:
        if not available():
            raise UserError("--engine vllm: vLLM is not installed; install it, or use --engine transformers")
        check_weight_files(model)  # with NaN in the weights vLLM generates nonsense without an error
        import vllm
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(model)
        processor = None
        if has_images(config):
            from transformers import AutoProcessor

            processor = AutoProcessor.from_pretrained(model)
        self.tokenizer = processor.tokenizer if processor is not None else AutoTokenizer.from_pretrained(model)
        self.encoder = encoder_for(config, processor, self.tokenizer, template, min_pixels, max_pixels)
        self.batch_size = batch_size or BATCH_SIZE
        self.context = context_of(config)
        if processor is not None:
            # vLLM resizes images again; with the same limits it leaves them unchanged.
            processing = self.encoder.images.processing
            limits = {"min_pixels": processing.min_pixels, "max_pixels": processing.max_pixels}
            options["mm_processor_kwargs"] = {key: value for key, value in limits.items() if value is not None}
            options["limit_mm_per_prompt"] = {"image": max_images}
        self._params = vllm.SamplingParams
        try:
            self.engine = vllm.LLM(model=model, dtype=dtype or "auto", **options)
        except Exception as error:  # vLLM raises many types
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{model}: vLLM can't load it: {reason}") from error

    def lengths(self, problems: Sequence[Problem]) -> list[int]:
        """Return the length of each prompt in tokens; reads only the headers of images."""
        return self.encoder.lengths(problems)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Response]:
        """Return one response per request."""
        outputs = self.engine.generate(
            [self._prompt(request.problem) for request in requests],
            [self._sampling(sampling, request.seed) for request in requests],
            use_tqdm=False,
        )
        return [_response(output.outputs[0]) for output in outputs]

    def _prompt(self, problem: Problem) -> dict[str, Any]:
        """Return vLLM's prompt: tokens, or with images the text with one image token each, which vLLM expands.

        Text prompts are given as tokens because vLLM's tokenizer would add a second beginning-of-text token.
        """
        if not problem.images:
            return {"prompt_token_ids": self.encoder.encode(problem).input_ids.tolist()}
        images = self.encoder.images.fit(problem)
        return {"prompt": self.encoder.render(problem), "multi_modal_data": {"image": images}}

    def _sampling(self, sampling: Sampling, seed: int) -> Any:
        return self._params(
            n=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
            seed=seed,
        )


def _response(output: Any) -> Response:
    ended = output.finish_reason == "stop"
    # vLLM counts the end token; the length of a response does not.
    return Response(output.text, max(len(output.token_ids) - ended, 0), not ended)
