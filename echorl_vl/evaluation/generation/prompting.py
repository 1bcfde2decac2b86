"""Prompts for both backends: the encoder with the evaluation's pixel limits and template, and the context length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoProcessor

from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.models import find_family, has_images, image_processing


def encoder_for(
    config: Any,
    processor: Any | None,
    tokenizer: Any,
    template: Path | None,
    min_pixels: int | None,
    max_pixels: int | None,
) -> PromptEncoder:
    """Build the prompt encoder of a model. It has no cache, since each prompt is used once.

    Args:
        config: transformers' configuration of the model.
        processor: processor of a model with images, else None.
        tokenizer: the tokenizer.
        template: jinja file of the prompt template.
        min_pixels: minimum area of an image.
        max_pixels: maximum area of an image.

    Raises:
        UserError: the model's images are not supported, or the template or the limits are invalid.
    """
    return PromptEncoder(
        processor,
        tokenizer,
        format_prompt=template,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        cache_bytes=0,
        family=find_family(config),
    )


def context_of(config: Any) -> int | None:
    """Return the maximum sequence length of a model in tokens; None if its configuration does not state it."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(text, "max_position_embeddings", None)


def pixel_limits(model: str, min_pixels: int | None, max_pixels: int | None) -> tuple[int | None, int | None]:
    """Return the limits of image areas: the given ones, else the processor's; unchanged for a text-only model.

    Raises:
        UserError: the model's images are not supported.
    """
    config = AutoConfig.from_pretrained(model)
    if not has_images(config):
        return min_pixels, max_pixels
    processor = AutoProcessor.from_pretrained(model)
    processing = image_processing(processor, min_pixels, max_pixels, find_family(config))
    return processing.min_pixels, processing.max_pixels
