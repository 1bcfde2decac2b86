"""Tiny models and processors of families other than Qwen2.5-VL.

LLaVA, with the class in docs/models.md, has a CLIP tower, images cropped to one size, and one axis of positions. In
Qwen3-VL image features also enter the first layers of the decoder. Qwen2-VL has the same family as Qwen2.5-VL.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_models as tiny
import torch
from transformers import (
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "models.md"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
)


@dataclass(frozen=True)
class Case:
    """A model and a processor of a family; `family` is the class in docs/models.md, None if the package has it."""

    family: str | None
    model: Callable[[], Any]
    processor: Callable[[], Any]

    def define(self) -> None:
        """Runs the code of the documentation, which registers the family."""
        code = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        exec(next(block for block in code if f"class {self.family}(" in block), {})

    def save(self, folder: Path) -> Path:
        self.model().save_pretrained(folder)
        self.processor().save_pretrained(folder)
        return folder


def text_config(**more) -> dict[str, Any]:
    sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4)
    ids = dict(bos_token_id=None, eos_token_id=tiny.token_id("<|im_end|>"), pad_token_id=tiny.token_id("<|endoftext|>"))
    return dict(vocab_size=272, num_key_value_heads=2, max_position_embeddings=4096, **sizes, **ids, **more)


def llava_model() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    vision = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2)
    config = LlavaConfig(
        vision_config=dict(model_type="clip_vision_model", image_size=28, patch_size=14, **vision),
        text_config=text_config(model_type="llama"),
        image_token_id=tiny.fresh_tokenizer("<image>").convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        tie_word_embeddings=False,
    )
    return tiny.spread_weights(LlavaForConditionalGeneration(config), 0.1)


def llava_processor() -> LlavaProcessor:
    square = {"height": 28, "width": 28}
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=square)
    template = TEMPLATE.replace("IMAGE", "<image>")
    return LlavaProcessor(
        images,
        tiny.fresh_tokenizer("<image>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    )


def qwen3_model() -> Qwen3VLForConditionalGeneration:
    torch.manual_seed(0)
    vision = dict(hidden_size=16, intermediate_size=32, depth=3, num_heads=2, out_hidden_size=32, patch_size=16)
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True, "rope_theta": 10_000.0}
    config = Qwen3VLConfig(
        vision_config=dict(deepstack_visual_indexes=[0, 1], num_position_embeddings=64, **vision),
        text_config=text_config(head_dim=8, rope_parameters=rope),
        image_token_id=tiny.token_id("<|image_pad|>"),
        video_token_id=tiny.token_id("<|video_pad|>"),
        vision_start_token_id=tiny.token_id("<|vision_start|>"),
        vision_end_token_id=tiny.token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return tiny.spread_weights(Qwen3VLForConditionalGeneration(config), 0.1)


def qwen3_processor() -> Qwen3VLProcessor:
    return qwen_processor(Qwen3VLProcessor, Qwen3VLVideoProcessor, 16)


def qwen2_model() -> Qwen2VLForConditionalGeneration:
    torch.manual_seed(0)
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10_000.0}
    config = Qwen2VLConfig(
        vision_config=dict(depth=2, embed_dim=16, hidden_size=32, num_heads=2, mlp_ratio=2, patch_size=14),
        text_config=text_config(rope_parameters=rope),
        image_token_id=tiny.token_id("<|image_pad|>"),
        video_token_id=tiny.token_id("<|video_pad|>"),
        vision_start_token_id=tiny.token_id("<|vision_start|>"),
        vision_end_token_id=tiny.token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return tiny.spread_weights(Qwen2VLForConditionalGeneration(config), 0.1)


def qwen2_processor() -> Qwen2VLProcessor:
    return qwen_processor(Qwen2VLProcessor, Qwen2VLVideoProcessor, 14)


def qwen_processor(processor: type, video_processor: type, patch_size: int) -> Any:
    template = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    sizes = dict(patch_size=patch_size, merge_size=2, temporal_patch_size=2)
    images = Qwen2VLImageProcessor(min_pixels=1024, max_pixels=8192, **sizes)
    return processor(images, tiny.fresh_tokenizer(), video_processor(**sizes), chat_template=template)


CASES = {
    "llava": Case("Llava", llava_model, llava_processor),
    "qwen3_vl": Case(None, qwen3_model, qwen3_processor),
    "qwen2_vl": Case(None, qwen2_model, qwen2_processor),
}
