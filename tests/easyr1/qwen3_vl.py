"""A tiny Qwen3-VL with random weights: the real architecture, with the tiny policy's tokenizer and chat template."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from ray_runs import REPOSITORY

TINY = REPOSITORY / "echorl_vl/tiny/model"


def save_qwen3_vl(folder: Path) -> Path:
    """Writes model and processor to a folder. Image features enter the first two of three decoder layers."""
    from transformers import (
        AutoTokenizer,
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, max_position_embeddings=2048, rope_theta=10_000.0, rope_scaling=rope,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        ),
        vision_config=dict(
            hidden_size=16, intermediate_size=32, depth=3, num_heads=2, out_hidden_size=32, patch_size=16,
            deepstack_visual_indexes=[0, 1], num_position_embeddings=64,
        ),
        tie_word_embeddings=True,
        **{name: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # wide enough that images and positions matter
                parameter.normal_(0, 0.1)
    model.save_pretrained(folder)
    sizes = dict(patch_size=16, merge_size=2, temporal_patch_size=2)
    images = Qwen2VLImageProcessor(min_pixels=1024, max_pixels=200_704, **sizes)
    template = json.loads((TINY / "chat_template.json").read_text())["chat_template"]
    Qwen3VLProcessor(images, tokenizer, Qwen3VLVideoProcessor(**sizes), chat_template=template).save_pretrained(folder)
    return folder
