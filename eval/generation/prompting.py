"""What both backends share: the encoder of a model's prompts, with the evaluation's pixel limits and template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from echorl_vl.data.prompts import PromptEncoder


def encoder_for(
    processor: Any | None, tokenizer: Any, template: Path | None, min_pixels: int | None, max_pixels: int | None
) -> PromptEncoder:
    """The encoder of one model's prompts. Nothing is kept: each prompt is used once.

    Raises UserError for a template that is none, or limits that leave no size.
    """
    return PromptEncoder(
        processor, tokenizer, format_prompt=template, min_pixels=min_pixels, max_pixels=max_pixels, cache_bytes=0
    )


def context_of(config: Any) -> int | None:
    """The longest sequence that a model's config allows, in tokens; None where it does not say."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(text, "max_position_embeddings", None)
