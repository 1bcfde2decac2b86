"""What both backends share: the encoder of a model's prompts, with the evaluation's pixel limits and template."""

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
    """The encoder of the prompts of one model; config: transformers' of it. Nothing is kept: each prompt is used once.

    Raises UserError for images that no known family's processor reads, a template that is none, or limits that leave no
    size.
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
    """The longest sequence that a model's config allows, in tokens; None where it does not say."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(text, "max_position_embeddings", None)


def pixel_limits(model: str, min_pixels: int | None, max_pixels: int | None) -> tuple[int | None, int | None]:
    """The limits that pictures are fitted to: those given, else the processor's own; None for a model of text.

    Raises UserError for images that no known family's processor reads.
    """
    config = AutoConfig.from_pretrained(model)
    if not has_images(config):
        return min_pixels, max_pixels
    processor = AutoProcessor.from_pretrained(model)
    processing = image_processing(processor, min_pixels, max_pixels, find_family(config))
    return processing.min_pixels, processing.max_pixels
